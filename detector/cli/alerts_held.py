"""What `detector alerts list --held` shows: what was beyond the most alerts of a day, the strangest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.cli.rows import as_object
from detector.cli.tables import Column, local_column, print_table
from detector.cli.terminal import note, print_json
from detector.row_words import connection_text, program_text, who_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from detector.config import Settings
    from detector.store.held_back import HeldBack


def list_held(settings: Settings, *, since: datetime | None, host: str | None, limit: int, as_json: bool) -> None:
    """Prints it."""
    from detector.cli.store import stored
    from detector.store.held_back import held_alerts, held_back

    with stored(settings) as connection:
        found = held_back(connection, held_alerts(connection, since=since, host=host))
    shown = found[:limit]
    if as_json:
        print_json([_as_object(each) for each in shown])
    elif shown:
        print_table(*_table(shown))
    else:
        note("nothing was held back")
    if len(found) > limit:
        note(f"{len(found) - limit:,} more are less strange: narrow the search with --since, or raise --limit")


def _as_object(each: HeldBack) -> dict[str, Any]:
    period = {"alert_id": each.alert.alert_id, "snapshots": each.snapshots, "connects": each.connects}
    return {**as_object(each.row), **period, "start": each.start, "end": each.end}


def _table(shown: Sequence[HeldBack]) -> tuple[Sequence[Column], list[tuple[str, ...]]]:
    last, times = local_column("last", [each.end for each in shown])
    columns = (
        *(Column("alert", align="right"), Column("surprise", align="right"), last, Column("host", fold=True)),
        *(Column("who", fold=True), Column("program", fold=True), Column("connection", fold=True)),
        *(Column("connects", align="right"), Column("why", fold=True)),
    )
    return columns, [
        (
            str(each.alert.alert_id),
            "-" if each.row["surprise"] is None else f"{each.row['surprise']:.1f}",
            time,
            *(each.alert.host, who_text(each.row), program_text(each.row), connection_text(each.row)),
            f"{each.connects:,}",
            each.row["explanation"] or "-",
        )
        for each, time in zip(shown, times, strict=True)
    ]
