"""Covers a period with as few rows as tell of all of it: days, at its ends hours, at their ends snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.store.matching import matching_rows
from detector.store.periods import Periods, has_hours, hours_since, made_of, rolled_until, with_keys
from detector.store.rollups import DAY, floor
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.chosen import Chosen
    from detector.store.matching import Matching
    from detector.store.periods import RolledRow

_Range = tuple["datetime | None", "datetime | None"]


@dataclass(frozen=True, slots=True)
class Cover:
    """What tells of a host's rolled up snapshots in a period; what is not rolled up yet is told by `tail`."""

    connection: Connection
    chosen: Chosen
    day_ranges: Sequence[_Range]
    hour_ranges: Sequence[_Range]

    @classmethod
    def of(cls, connection: Connection, chosen: Chosen, *, by_hours: bool = False) -> Cover:
        """The cover of the chosen period.

        Args:
            connection: the transaction.
            chosen: what to look for.
            by_hours: hours are wanted as far as there are any: it matters which.
        """
        if chosen.nothing:
            return cls(connection, chosen, (), ())
        chosen = with_keys(connection, chosen)
        if by_hours:
            since = hours_since(connection, chosen, chosen.since)
            hours: list[_Range] = [(since, None)]
        else:
            hours = _joined(day for day in _cut_days(connection, chosen) if has_hours(connection, chosen, day))
        return cls(connection, chosen, _between(hours), hours)

    def parts(self) -> Iterator[tuple[Table, list[ColumnElement[bool]]]]:
        """Tables of roll-ups and conditions: the rows that count whole, the coarsest first."""
        days, hours = Periods.days(self.connection, self.chosen), Periods.hours(self.connection, self.chosen)
        for first, end in self.day_ranges:
            if days.may_have(first, end):
                yield days.table, days.conditions(first, end)
        for first, end in self.hour_ranges:
            if hours.may_have(first, end):
                yield hours.table, [*hours.conditions(first, end), *hours.inside()]

    def cut(self) -> tuple[list[Matching], list[RolledRow]]:
        """What matches in the snapshots of hours that the period cuts in two, and the hours that have none any more."""
        periods = Periods.hours(self.connection, self.chosen)
        rows = [row for first, end in self.hour_ranges for row in periods.cut(first, end)]
        last = rolled_until(self.connection, self.chosen.host_id)
        return made_of(self.connection, self.chosen, rows, last)

    def cut_days(self) -> bool:
        """Whether a day counts whole of which only a part is in the period: its hours have expired."""
        periods = Periods.days(self.connection, self.chosen)
        return any(periods.cut(first, end) for first, end in self.day_ranges)


def tail(connection: Connection, chosen: Chosen) -> Iterator[Matching]:
    """What matches in the snapshots that are not rolled up yet, the newest first."""
    newest = connection.scalar(select(func.max(snapshots.c.seq)).where(snapshots.c.host_id == chosen.host_id))
    span = (rolled_until(connection, chosen.host_id) + 1, newest or 0)
    return matching_rows(connection, chosen, span, newest_first=True)


def _cut_days(connection: Connection, chosen: Chosen) -> list[datetime]:
    """The days that the period may cut in two: a snapshot may have begun on the day before."""
    days: set[datetime] = set()
    if chosen.since is not None:
        days |= {floor(chosen.since, DAY) - DAY, floor(chosen.since, DAY)}
    if chosen.until is not None:
        days |= {floor(_start_of(connection, chosen.host_id, chosen.until), DAY), floor(chosen.until, DAY)}
    return sorted(days)


def _start_of(connection: Connection, host_id: int, moment: datetime) -> datetime:
    """When the snapshot began in which a moment falls; if there is none, the moment."""
    after = connection.scalar(
        select(snapshots.c.start)
        .where(snapshots.c.host_id == host_id, snapshots.c.end > moment)
        .order_by(snapshots.c.end)
        .limit(1)
    )
    return moment if after is None else min(moment, after)


def _joined(days: Iterable[datetime]) -> list[_Range]:
    """Days that follow each other as one time."""
    ranges: list[_Range] = []
    for day in days:
        if ranges and ranges[-1][1] == day:
            ranges[-1] = (ranges[-1][0], day + DAY)
        else:
            ranges.append((day, day + DAY))
    return ranges


def _between(ranges: Sequence[_Range]) -> list[_Range]:
    """The times that are in none of some ranges, which are in order."""
    found: list[_Range] = []
    first: Any = None
    open_ended = True
    for begin, end in ranges:
        if begin is not None and (first is None or first < begin):
            found.append((first, begin))
        first, open_ended = end, end is not None
    return [*found, (first, None)] if open_ended else found
