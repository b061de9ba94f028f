"""Whether snapshots come, and detection sees them."""

from __future__ import annotations

from dataclasses import dataclass
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
    stopped: bool = False
    """Its collector has ended in order, so that nothing is to be expected."""


def liveness(connection: Connection) -> list[Liveness]:
    """All hosts of which a collector has sent anything that is still stored."""
    seen = silence.seen(connection)
    found = []
    for host_id, host in known_hosts(connection).items():
        last = silence.newest(connection, host_id)
        if last is None or not last.captured:
            continue
        until = None
        if host_id in seen:
            until = connection.scalar(
                select(snapshots.c.end).where(snapshots.c.host_id == host_id, snapshots.c.seq == seen[host_id])
            )
        found.append(
            Liveness(
                host=host,
                captured_until=last.ref.end,
                usual_seconds=last.usual_seconds,
                detected_until=until,
                stopped=not last.awaited,
            )
        )
    return found
