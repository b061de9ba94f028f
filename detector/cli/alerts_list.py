"""`detector alerts list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector.alert_words import rules_text
from detector.cli.alert_names import as_object, state_of
from detector.cli.parameters import LIMIT, HostName, Moment
from detector.cli.tables import Column, local_column, print_table
from detector.cli.terminal import note, print_json
from detector.domain import AlertState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from detector.config import Settings
    from detector.domain import Alert


@click.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only what is not resolved.")
@click.option("--held", is_flag=True, help="What was beyond the most alerts of a day, the strangest first.")
@click.option("--since", type=Moment(), help="Only what was still going on after: 7d, 2h, 2026-11-20.")
@click.option("--host", type=HostName(), help="Only of the host with this name.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The newest alerts shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def list_(
    settings: Settings,
    /,
    *,
    only_open: bool,
    held: bool,
    since: datetime | None,
    host: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List alerts, the newest last.

    \b
    States:
      waiting       new, and not told yet (alerts.group_wait_seconds)
      open          going on, or quiet for less than alerts.resolve_after_seconds
      acknowledged  open, and somebody looks after it: it is not repeated
      silenced by N nobody is told, because of silence N
      resolved      it has been quiet, or somebody has said that it is over

    The scores of a host open no more than models.most_alerts_per_day alerts a day. What is beyond is in one more alert
    of that day, "held back": --held shows its connections, the strangest first, each with the alert that holds it.

    \b
    Examples:
      detector alerts list --open
      detector alerts list --since 24h
      detector alerts list --held --since 7d
      detector alerts list --since 2026-11-01 --limit 1000 --json
    """
    from detector.cli.alerts_held import list_held
    from detector.cli.store import stored
    from detector.store.alerts import list_alerts

    if held:
        if only_open:
            raise click.UsageError("--held is of all that was held back: leave out --open, or say --since")
        list_held(settings, since=since, host=host, limit=limit, as_json=as_json)
        return
    states = (AlertState.WAITING, AlertState.OPEN) if only_open else None
    with stored(settings) as connection:
        found = list_alerts(connection, since=since, states=states, host=host, limit=limit + 1)
    # The newest come first from the store, and stand nearest to the prompt here.
    shown = found[:limit][::-1]
    if as_json:
        print_json([as_object(alert) for alert in shown])
    elif shown:
        print_table(*alert_table(shown))
    else:
        note(_none(only_open=only_open, narrowed=since is not None or host is not None))
    if len(found) > limit:
        note("there are older alerts too: narrow the search with --since, or raise --limit")


def _none(*, only_open: bool, narrowed: bool) -> str:
    what = "no open alerts" if only_open else "no alerts"
    if narrowed:
        return f"{what} there: search without --since and --host"
    if only_open:
        return f"{what}; what is over: detector alerts list"
    return f"{what} yet; whether hosts are watched: detector doctor; whether alerts would arrive: detector notify test"


def alert_table(shown: Sequence[Alert]) -> tuple[Sequence[Column], list[tuple[str, ...]]]:
    """Columns, and a line for each alert."""
    last, times = local_column("last", [each.end for each in shown])
    columns = (
        Column("id", align="right"),
        last,
        Column("severity"),
        Column("state"),
        Column("host", fold=True),
        Column("rule", below=True),
        Column("summary", below=True),
    )
    return columns, [
        (
            str(each.alert_id),
            time,
            each.severity.value,
            state_of(each),
            each.host,
            rules_text(each),
            each.summary,
        )
        for each, time in zip(shown, times, strict=True)
    ]
