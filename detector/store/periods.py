"""What is chosen of a host's roll-ups, by hour or by day, and the snapshots that these are made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from detector.store.matching import snapshots_between
from detector.store.rollups import DAY, HOUR, floor
from detector.store.tables import connection_keys, daily_counts, detection_cursors, hourly_counts, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.chosen import Chosen
    from detector.store.matching import Matching

SUMMED = ("snapshots", "attempted", "established", "refused", "timed_out", "failed", "handshake_us_total")
"""The columns of roll-ups that add up."""

_NUMBERS = (*SUMMED, "handshake_us_max", "first_seen", "last_seen", "peak_score")
# No snapshot is longer, unless the machine slept: a period that it reaches into begins so much earlier at most.
_LONGEST_SNAPSHOT = DAY

RolledRow = Any
"""A row of `hourly_counts` or `daily_counts`, less its host."""


@dataclass(frozen=True, slots=True)
class Periods:
    """The hours, or the days, of what is chosen."""

    connection: Connection
    chosen: Chosen
    table: Table
    length: timedelta

    @classmethod
    def hours(cls, connection: Connection, chosen: Chosen) -> Periods:
        """Those of `hourly_counts`."""
        return cls(connection, chosen, hourly_counts, HOUR)

    @classmethod
    def days(cls, connection: Connection, chosen: Chosen) -> Periods:
        """Those of `daily_counts`."""
        return cls(connection, chosen, daily_counts, DAY)

    def conditions(
        self, first: datetime | None = None, end: datetime | None = None, *, counted: bool = True
    ) -> list[ColumnElement[bool]]:
        """Of rows that match, that began in a time, and that reach into the period that is asked for."""
        columns, chosen = self.table.c, self.chosen
        conditions = chosen.rolled(self.connection, self.table, counted=counted)
        if chosen.since is not None:
            earliest = floor(chosen.since, self.length) - _LONGEST_SNAPSHOT
            first = earliest if first is None else max(first, earliest)
            conditions.append(columns.last_seen > chosen.since)
        if chosen.until is not None:
            end = chosen.until if end is None else min(end, chosen.until)
            conditions.append(columns.first_seen < chosen.until)
        if first is not None:
            conditions.append(columns.start >= first)
        if end is not None:
            conditions.append(columns.start < end)
        return conditions

    def may_have(self, first: datetime | None, end: datetime | None) -> bool:
        """Whether a time reaches into the period that is asked for."""
        chosen = self.chosen
        after = chosen.since is None or end is None or end > floor(chosen.since, self.length) - _LONGEST_SNAPSHOT
        return after and (chosen.until is None or first is None or first < chosen.until)

    def inside(self) -> list[ColumnElement[bool]]:
        """The part of `conditions` that says of a row that all of it is in the period that is asked for."""
        columns, chosen = self.table.c, self.chosen
        conditions = []
        if chosen.since is not None:
            conditions.append(columns.first_seen >= chosen.since)
        if chosen.until is not None:
            conditions.append(columns.last_seen <= chosen.until)
        return conditions

    def starts(self, first: datetime | None, end: datetime | None) -> list[tuple[datetime, int]]:
        """When periods begin that have rows, and in how many snapshots what is chosen was, the newest first."""
        start = self.table.c.start
        statement = select(start, func.sum(self.table.c.snapshots)).where(*self.conditions(first, end)).group_by(start)
        return [(moment, rows) for moment, rows in self.connection.execute(statement.order_by(start.desc()))]

    def rows(self, first: datetime | None, end: datetime | None) -> Sequence[RolledRow]:
        """The rows of periods that begin in a time."""
        return self.connection.execute(self.select().where(*self.conditions(first, end))).all()

    def cut(self, first: datetime | None, end: datetime | None) -> Sequence[RolledRow]:
        """The rows of periods that begin in a time, and are partly in the period that is asked for."""
        chosen, columns = self.chosen, self.table.c
        found: dict[Any, RolledRow] = {}
        for edge in (chosen.since, chosen.until):
            if edge is not None:
                # Only these can be cut: no need to look at the others.
                low, high = floor(edge, self.length) - _LONGEST_SNAPSHOT, edge
                low, high = max(low, first or low), min(high, end or high)
                across = and_(columns.first_seen < edge, columns.last_seen > edge)
                statement = self.select().where(*self.conditions(low, high), across)
                found |= {place(row): row for row in self.connection.execute(statement)}
        return list(found.values())

    def select(self) -> Any:
        """Rows, to be narrowed."""
        columns = self.table.c
        return select(
            columns.key_id, columns.start, columns.origin_id, columns.name_id, *(columns[name] for name in _NUMBERS)
        )


def place(row: RolledRow) -> tuple[Any, ...]:
    """What tells a row from the others of its host."""
    return row.key_id, row.start, row.origin_id, row.name_id


def rolled_until(connection: Connection, host_id: int) -> int:
    """The last snapshot of a host that is rolled up."""
    cursor = detection_cursors.c
    return connection.scalar(select(cursor.rolled_seq).where(cursor.host_id == host_id)) or 0


def with_keys(connection: Connection, chosen: Chosen) -> Chosen:
    """The same, with the numbers of all keys in place of "any": rows of roll-ups are found by them."""
    if chosen.keys is not None:
        return chosen
    keys = connection_keys.c
    conditions = [keys.host_id == chosen.host_id]
    if chosen.since is not None:
        conditions.append(keys.last_seen > chosen.since)
    return replace(chosen, keys=frozenset(connection.scalars(select(keys.key_id).where(*conditions)).all()))


def has_hours(connection: Connection, chosen: Chosen, day: datetime) -> bool:
    """Whether all hours are there of what is chosen of a day.

    Args:
        connection: the transaction.
        chosen: with the numbers of keys.
        day: its start.
    """
    return has_snapshots(connection, chosen.host_id, day) or _has_all_hours(connection, _ever(chosen), day)


def hours_since(connection: Connection, chosen: Chosen, needed: datetime | None) -> datetime | None:
    """From when on there are hours, and not only days: the start of a day; None: there are, as far back as days.

    Hours expire before days do. A day that has lost some of its hours is before that.

    Args:
        connection: the transaction.
        chosen: with the numbers of keys.
        needed: farther back it is not asked for; None: as far as there is anything.
    """
    if needed is not None and has_snapshots(connection, chosen.host_id, floor(needed, DAY)):
        return None
    keys = connection_keys.c
    ever = _ever(chosen)

    def first(table: Table) -> datetime | None:
        # A key's first period is found by the primary key; of all together SQLite would look at each period.
        of_key = select(func.min(table.c.start)).where(table.c.host_id == keys.host_id, table.c.key_id == keys.key_id)
        statement = select(func.min(of_key.correlate(connection_keys).scalar_subquery()))
        found: datetime | None = connection.scalar(statement.where(*ever.rolled(connection, connection_keys)))
        return found

    first_day = first(daily_counts)
    if first_day is None:
        return None
    first_hour = first(hourly_counts)
    if first_hour is None:
        return datetime.max.replace(tzinfo=UTC)
    day = floor(first_hour, DAY)
    since = day if _has_all_hours(connection, ever, day) else day + DAY
    return None if since <= first_day else since


def has_snapshots(connection: Connection, host_id: int, moment: datetime) -> bool:
    """Whether there are snapshots that are as old: all that came since are there too, for the oldest expire first."""
    oldest = connection.scalar(select(func.min(snapshots.c.end)).where(snapshots.c.host_id == host_id))
    return oldest is not None and oldest <= moment


def _ever(chosen: Chosen) -> Chosen:
    """The same keys, whatever they did and whenever."""
    return replace(chosen, origins=None, names=None, since=None, until=None, outcome=None, min_score=None)


def _has_all_hours(connection: Connection, ever: Chosen, day: datetime) -> bool:
    in_days, in_hours = (
        connection.scalar(
            select(func.sum(table.c.snapshots)).where(
                *ever.rolled(connection, table), table.c.start >= day, table.c.start < day + DAY
            )
        )
        or 0
        for table in (daily_counts, hourly_counts)
    )
    return in_hours >= in_days


def made_of(
    connection: Connection, chosen: Chosen, rows: Iterable[RolledRow], last: int
) -> tuple[list[Matching], list[RolledRow]]:
    """The matching rows of snapshots that hours are made of, and those of the hours whose snapshots have expired.

    Args:
        connection: the transaction.
        chosen: what to look for; snapshots out of its period are left out.
        rows: of `hourly_counts`.
        last: the last snapshot that is rolled up.
    """
    hours = {place(row): row for row in rows}
    seen: Counter[tuple[Any, ...]] = Counter()
    found: list[tuple[Any, list[tuple[int, tuple[Any, ...]]]]] = []
    wanted = replace(chosen, keys=frozenset(row.key_id for row in hours.values()))
    for after, until in _merged((row.first_seen, row.last_seen) for row in hours.values()):
        for snapshot in snapshots_between(connection, wanted, after, until, last):
            named = wanted.named(snapshot)
            keys, origins, names = (
                [snapshot.counts[name][row] for row in named] for name in ("key_id", "origin_id", "name_id")
            )
            places = list(zip(keys, [floor(snapshot.start, HOUR)] * len(named), origins, names, strict=True))
            here = [each for each in zip(named, places, strict=True) if each[1] in hours]
            seen.update(where for _, where in here)
            if here and chosen.in_period(snapshot.end):
                matching = set(chosen.counted(snapshot, [row for row, _ in here]))
                found.append((snapshot, [each for each in here if each[0] in matching]))
    expired = {where for where, row in hours.items() if seen[where] < row.snapshots}
    matching_rows = ((snapshot, [row for row, where in rows if where not in expired]) for snapshot, rows in found)
    return [each for each in matching_rows if each[1]], [hours[where] for where in expired]


def _merged(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Spans of time that do not overlap, of some that may."""
    merged: list[tuple[datetime, datetime]] = []
    for after, until in sorted(spans):
        if merged and after < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((after, until))
    return merged
