"""How much of a period was captured, host by host, and when hosts were silent."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, or_, select

from detector.domain import Losses
from detector.store.counting import number_of
from detector.store.filters import known_hosts
from detector.store.moments import microseconds
from detector.store.tables import hosts, silences, snapshots

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement

_LOST_EVENTS = tuple(f"lost_{each.name}" for each in fields(Losses) if each.name != "snapshots")
_MICROSECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What came of one host in a period."""

    host: str
    snapshots: int
    incomplete: int
    """With something lost, taken blind, or after a time in which nobody watched."""
    watched_seconds: float
    """Of the period."""
    lost_events: int
    lost_snapshots: int
    blind: int
    waited: int
    """Snapshots that could not be written at once, and waited on disk for the database."""
    known_since: datetime
    """When the host was first heard of, as far as is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A host of which nothing came, though more was to be expected."""

    host: str
    since: datetime
    until: datetime | None
    """None: nothing has come yet."""


def captured(connection: Connection, since: datetime, until: datetime) -> list[Captured]:
    """What came of each host that was known before the end of the period, in the order of names."""
    columns = snapshots.c
    lost = sum((columns[name] for name in _LOST_EVENTS[1:]), columns[_LOST_EVENTS[0]])
    blind = or_(columns.self_test_passed.is_(False), columns.blind_since.is_not(None))
    # A suspended machine connects nowhere: the time is no gap, nor is it watched.
    incomplete = or_(lost > 0, columns.lost_snapshots > 0, blind, columns.gap_seconds > 0)
    found = []
    for host_id, host in known_hosts(connection).items():
        of_host = columns.host_id == host_id
        first = connection.scalar(select(columns.start).where(of_host).order_by(columns.seq).limit(1))
        if first is None or first >= until:
            continue
        row = connection.execute(
            select(
                func.count().label("snapshots"),
                number_of(incomplete).label("incomplete"),
                func.coalesce(func.sum(microseconds(columns.end) - microseconds(columns.start)), 0).label("watched"),
                func.coalesce(func.sum(lost), 0).label("events"),
                func.coalesce(func.sum(columns.lost_snapshots), 0).label("gone"),
                number_of(blind).label("blind"),
                number_of(columns.waited_seconds > 0).label("waited"),
            ).where(of_host, columns.end > since, columns.end <= until)
        ).one()
        found.append(
            Captured(
                host=host,
                snapshots=row.snapshots,
                incomplete=int(row.incomplete),
                watched_seconds=int(row.watched) / _MICROSECOND,
                lost_events=int(row.events),
                lost_snapshots=int(row.gone),
                blind=int(row.blind),
                waited=int(row.waited),
                known_since=first,
            )
        )
    return sorted(found, key=lambda each: each.host)


def silent(connection: Connection, since: datetime, until: datetime, limit: int) -> tuple[list[Silent], int]:
    """The last `limit` times that a host fell silent in the period, the latest first, and how many more there were.

    A collector that ended in order is not silent.
    """
    known, each = silences.c, snapshots.c
    of_host = each.host_id == known.host_id

    def there(column: ColumnElement[Any], seq: ColumnElement[int]) -> ColumnElement[Any]:
        # One by one: there are few, and of snapshots there are millions.
        return select(column).where(of_host, each.seq == seq).correlate(silences).scalar_subquery()

    noticed = select(
        known.host_id,
        there(each.end, known.seq).label("since"),
        there(each.stopped, known.seq).label("stopped"),
        # They are numbered without a gap.
        there(each.start, known.seq + 1).label("until"),
    ).subquery()
    fell = (
        select(hosts.c.host, noticed.c.since, noticed.c.until)
        .join(hosts, hosts.c.host_id == noticed.c.host_id)
        .where(noticed.c.stopped.is_(False), noticed.c.since >= since, noticed.c.since < until)
    )
    total = connection.scalar(select(func.count()).select_from(fell.subquery())) or 0
    rows = connection.execute(fell.order_by(noticed.c.since.desc(), hosts.c.host).limit(limit)).mappings()
    found = [Silent(**row) for row in rows]
    return found, total - len(found)
