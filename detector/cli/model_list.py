"""`detector model list`: the forests that are stored of each host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import HostName
from detector.cli.terminal import Column, local_column, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.config import Settings
    from detector.models.registry import ModelVersion


@click.command("list")
@click.option("--host", type=HostName(), help="Only of this host.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def list_(settings: Settings, /, host: str | None, *, as_json: bool) -> None:
    """List the isolation forests of each host, the newest last.

    The newest is in force, unless it was refused; a few before it are kept.

    \b
    Examples:
      detector model list
      detector model list --host bastion-1 --json
    """
    from detector.cli.store import stored
    from detector.models.registry import versions_by_host

    with stored(settings) as connection:
        found = versions_by_host(connection, host)
    if as_json:
        print_json([_as_object(name, each, in_force) for name, each, in_force in _in_order(found)])
    elif found:
        _print(list(_in_order(found)))
    else:
        note("no forest was trained yet: the first comes when a host's burn-in is over")


def _in_order(found: dict[str, list[ModelVersion]]) -> Sequence[tuple[str, ModelVersion, bool]]:
    """Host by host, the newest last, each with whether it is in force."""
    return [
        (host, each, each is of_host[0] and each.fault is None)
        for host, of_host in found.items()
        for each in reversed(of_host)
    ]


def _as_object(host: str, model: ModelVersion, in_force: bool) -> dict[str, Any]:
    return {
        "host": host,
        "version": model.version,
        "in_force": in_force,
        "trained_at": model.trained_at,
        "rows": model.rows,
        "features": list(model.features),
        "parameters": {name: value for name, value in model.parameters.items() if name != "typical"},
        "fault": model.fault,
    }


def _print(found: Sequence[tuple[str, ModelVersion, bool]]) -> None:
    trained, times = local_column("trained", [model.trained_at for _, model, _ in found])
    columns = [
        Column("host", fold=True),
        Column("version", "right"),
        trained,
        Column("rows", "right"),
        Column("state", fold=True),
    ]
    rows = [
        (
            host,
            str(model.version),
            time,
            f"{model.rows:,}",
            f"refused: {model.fault}" if model.fault else "in force" if in_force else "kept",
        )
        for (host, model, in_force), time in zip(found, times, strict=True)
    ]
    print_table(columns, rows)
