"""`detector model list`: the forests that are stored of each host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import HostName
from detector.cli.tables import Column, local_column, print_table
from detector.cli.terminal import note, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.config import Settings
    from detector.models.registry import ModelVersion


@click.command("list")
@click.option("--host", type=HostName(), help="Only of this host.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def list_(settings: Settings, /, host: str | None, *, as_json: bool) -> None:
    """List the isolation forests of each host, the newest last.

    Each was tried on rows that were held back from its training. `separates`: how often it finds a combination that
    never was stranger than a row that was (1: always, .5: by chance). `beyond`: the share of the rows that were,
    and are usual, that it would call strange; more than .01 means false alerts. What does worse in either than the one
    in force is not put in force. The last five are kept beside it.

    \b
    Examples:
      detector model list
      detector model list --host bastion-1 --json
    """
    from detector.cli.store import stored
    from detector.models.registry import versions_by_host

    with stored(settings) as connection:
        found = versions_by_host(connection, host)
    listed = [(name, each) for name, of_host in found.items() for each in reversed(of_host)]
    if as_json:
        print_json([_as_object(name, each) for name, each in listed])
    elif listed:
        _print(listed)
    else:
        note("no forest was trained yet: the first comes when a host's burn-in is over")


def _as_object(host: str, model: ModelVersion) -> dict[str, Any]:
    return {
        "host": host,
        "version": model.version,
        "state": model.state.value,
        "reason": model.reason,
        "trained_at": model.trained_at,
        "trained_from": model.trained_from,
        "trained_until": model.trained_until,
        "rows": model.rows,
        "figures": model.figures,
        "features": list(model.features),
        "parameters": {name: value for name, value in model.parameters.items() if name != "typical"},
    }


def _print(listed: Sequence[tuple[str, ModelVersion]]) -> None:
    trained, times = local_column("trained", [model.trained_at for _, model in listed])
    columns = [
        Column("host", fold=True),
        Column("version", "right"),
        trained,
        Column("rows", "right"),
        Column("separates", "right"),
        Column("beyond", "right"),
        Column("state"),
        Column("because", fold=True),
    ]
    rows = [
        (
            host,
            str(model.version),
            time,
            f"{model.rows:,}",
            _figure(model.figures, "separated"),
            _figure(model.figures, "beyond"),
            model.state.value.replace("_", " "),
            model.reason or "",
        )
        for (host, model), time in zip(listed, times, strict=True)
    ]
    print_table(columns, rows)


def _figure(figures: Mapping[str, Any] | None, name: str) -> str:
    return "-" if figures is None else f"{figures[name]:.3f}"
