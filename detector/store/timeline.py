"""How much there was over time: by snapshots where these are few, else by the hour, or by the day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.store.chosen import Chosen
from detector.store.filters import known_hosts
from detector.store.matching import matching_rows, span_of
from detector.store.sums import START, add_up
from detector.store.tables import connection_keys, snapshots

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from detector.store.filters import HistoryFilter

FINE = timedelta(hours=6)
"""A period up to this is told snapshot by snapshot."""

_ENDS = ("established", "refused", "timed_out", "failed")


@dataclass(slots=True)
class Moment:
    """What began at a time."""

    connects: int = 0
    """Attempts; of what came in, for which there are none, connections."""
    unsuccessful: int = 0
    """Refused, timed out, or failed otherwise."""

    def add(self, attempted: int, established: int, refused: int, timed_out: int, failed: int) -> None:
        """Adds counts."""
        self.unsuccessful += refused + timed_out + failed
        self.connects += max(attempted, established + refused + timed_out + failed)


def reach(connection: Connection, wanted: HistoryFilter) -> tuple[datetime, datetime] | None:
    """The first and the last moment of what is stored, within the period; None: nothing is."""
    keys = connection_keys.c
    ids = list(known_hosts(connection, wanted.host))
    first, last = connection.execute(
        select(func.min(keys.first_seen), func.max(keys.last_seen)).where(keys.host_id.in_(ids))
    ).one()
    newest = [
        connection.scalar(select(func.max(snapshots.c.end)).where(snapshots.c.host_id == host_id)) for host_id in ids
    ]
    last = max((moment for moment in (last, *newest) if moment is not None), default=None)
    if first is None or last is None:
        return None
    return wanted.since or first, wanted.until or last


def timeline(connection: Connection, wanted: HistoryFilter, *, fine: bool) -> dict[datetime, Moment]:
    """What there was, by the start of the snapshot or the hour.

    Args:
        connection: the transaction.
        wanted: what to look for.
        fine: by snapshots, as far as there are any.
    """
    found: dict[datetime, Moment] = {}
    for host_id in known_hosts(connection, wanted.host):
        chosen = Chosen.by(connection, host_id, wanted)
        oldest = connection.scalar(select(func.min(snapshots.c.end)).where(snapshots.c.host_id == host_id))
        span = span_of(connection, host_id, wanted) if fine else None
        if span is not None and oldest is not None and wanted.since is not None and oldest <= wanted.since:
            for snapshot, rows in matching_rows(connection, chosen, span):
                moment = found.setdefault(snapshot.start, Moment())
                columns = [snapshot.counts[name] for name in ("attempted", *_ENDS)]
                for row in rows:
                    moment.add(*(column[row] for column in columns))
            continue
        (summed,) = add_up(connection, chosen, (START,))
        for (start,), sums in summed.by.items():
            found.setdefault(start, Moment()).add(*sums.numbers[1:6])
    return found
