"""Whether snapshots come, and detection sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from detector.store import silence
from detector.store.filters import known_hosts
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """How far a host's capture and its detection have come."""

    host: str
    captured_until: datetime
    """The end of its last snapshot."""
    usual_seconds: float
    """How long its snapshots are."""
    detected_until: datetime | None
    """The end of the last one that detection has seen; None: it has seen none."""
    waiting_since: datetime | None = None
    """The end of the oldest one that detection has not seen; None: it has seen all."""
    stopped: bool = False
    """Its collector has ended in order, so that nothing is to be expected."""

    @property
    def behind(self) -> timedelta:
        """How far detection is behind. Time in which nothing was captured is none of its own."""
        return self.captured_until - self.waiting_since if self.waiting_since else timedelta(0)


def liveness(connection: Connection) -> list[Liveness]:
    """All hosts of which a collector has sent anything that is still stored."""
    seen = silence.seen(connection)
    found = []
    for host_id, host in known_hosts(connection).items():
        last = silence.newest(connection, host_id)
        if last is None or not last.captured:
            continue
        last_seen, of_host = seen.get(host_id, 0), select(snapshots.c.end).where(snapshots.c.host_id == host_id)
        later = of_host.where(snapshots.c.seq > last_seen).order_by(snapshots.c.seq).limit(1)
        found.append(
            Liveness(
                host=host,
                captured_until=last.ref.end,
                usual_seconds=last.usual_seconds,
                detected_until=connection.scalar(of_host.where(snapshots.c.seq == last_seen)),
                waiting_since=connection.scalar(later),
                stopped=not last.awaited,
            )
        )
    return found
