"""How well capture worked: which snapshots are not what they should be, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, or_, select

from detector.domain import CaptureHealth, Losses
from detector.store.filters import known_hosts
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, RowMapping

_HEALTH_FIELDS = tuple(field.name for field in fields(CaptureHealth))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHealth:
    """How well one snapshot was taken."""

    host: str
    start: datetime
    end: datetime
    losses: Losses
    health: CaptureHealth
    gap_seconds: float
    """How long nobody watched before it: from the end of the snapshot that was stored before."""
    waited_seconds: float
    """How long it waited for the database."""
    set_aside: str | None
    """Where the damaged database is whose place this one took, if it is the first snapshot in this one."""

    @property
    def complete(self) -> bool:
        """Whether all was counted that this kernel shows, from the end of the snapshot before on."""
        blind = self.health.self_test_passed is False or self.health.blind_since is not None
        return self.losses.complete and not blind and not self.gap_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPage:
    """The newest snapshots with something to say, oldest first, and how many were looked at."""

    found: tuple[SnapshotHealth, ...]
    more: bool
    """Whether older ones would have something to say too."""
    total_snapshots: int
    """In the period, complete or not."""


def find_incomplete(
    connection: Connection,
    *,
    host: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> HealthPage:
    """The newest `limit` snapshots that lost something, were taken blind, late or over a jump of the clock, waited for
    the database, follow upon a gap, or are the first since a damaged database was set aside. What a kernel does not
    show is the same for long: it is told by the first snapshot of the period, and where it changes.

    Args:
        connection: the transaction.
        host: a pattern of hosts' names (see `history.HistoryFilter`).
        since: only snapshots that ended after this.
        until: only snapshots that ended at this or before.
        limit: how many, over all hosts.
    """
    period: list[ColumnElement[bool]] = []
    if since is not None:
        period.append(snapshots.c.end > since)
    if until is not None:
        period.append(snapshots.c.end <= until)
    found: list[SnapshotHealth] = []
    total = 0
    for host_id, name in known_hosts(connection, host).items():
        of_host = [snapshots.c.host_id == host_id, *period]
        total += connection.scalar(select(func.count()).select_from(snapshots).where(*of_host)) or 0
        unseen_before = func.coalesce(func.lag(snapshots.c.unseen).over(order_by=snapshots.c.seq), "")
        each = select(snapshots, unseen_before.label("unseen_before")).where(*of_host).subquery().c
        told = or_(
            *(column > 0 for column in each if column.name.startswith("lost_")),
            each.self_test_passed.is_(False),
            each.blind_since.is_not(None),
            *(each[word] != 0 for word in ("late_seconds", "clock_step_seconds", "suspended_seconds", "gap_seconds")),
            each.waited_seconds != 0,
            each.set_aside.is_not(None),
            (each.unseen != "") & (each.unseen != each.unseen_before),
        )
        rows = connection.execute(select(*each).where(told).order_by(each.seq.desc()).limit(limit + 1)).mappings()
        found += [_health_from(row, name) for row in rows][::-1]
    # Stable: snapshots of one host that ended at the same moment stay in their order.
    found.sort(key=attrgetter("end"))
    return HealthPage(found=tuple(found[-limit:]), more=len(found) > limit, total_snapshots=total)


def _health_from(row: RowMapping, host: str) -> SnapshotHealth:
    health = {name: row[name] for name in _HEALTH_FIELDS}
    health["unseen"] = tuple(row["unseen"].split("; ")) if row["unseen"] else ()
    return SnapshotHealth(
        host=host,
        start=row["start"],
        end=row["end"],
        losses=Losses(**{field.name: row[f"lost_{field.name}"] for field in fields(Losses)}),
        health=CaptureHealth(**health),
        gap_seconds=row["gap_seconds"],
        waited_seconds=row["waited_seconds"],
        set_aside=row["set_aside"],
    )
