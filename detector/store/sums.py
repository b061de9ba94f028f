"""Adds up what is chosen of a host over a period, by the numbers of keys and of what else is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.store.cover import Cover, tail
from detector.store.matching import with_scores
from detector.store.periods import SUMMED
from detector.store.rollups import HOUR, floor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.chosen import Chosen
    from detector.store.matching import Matching

START = "start"
"""Of the hour; of the day where hours have expired."""

_COUNTS = SUMMED[1:]


@dataclass(slots=True)
class Sums:
    """What adds up, and what is the most of it."""

    numbers: list[int] = field(default_factory=lambda: [0] * len(SUMMED))
    """By SUMMED."""
    handshake_us_max: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    peak_score: float | None = None

    def add(
        self,
        numbers: Iterable[int],
        longest: int,
        first_seen: datetime,
        last_seen: datetime,
        score: float | None,
    ) -> None:
        """Adds another part."""
        self.numbers = [one + other for one, other in zip(self.numbers, numbers, strict=True)]
        self.handshake_us_max = max(self.handshake_us_max, longest)
        if self.first_seen is None or first_seen < self.first_seen:
            self.first_seen = first_seen
        if self.last_seen is None or last_seen > self.last_seen:
            self.last_seen = last_seen
        if score is not None and (self.peak_score is None or score > self.peak_score):
            self.peak_score = score

    def merge(self, other: Sums) -> None:
        """Adds the sums of others."""
        if other.first_seen is not None and other.last_seen is not None:
            self.add(other.numbers, other.handshake_us_max, other.first_seen, other.last_seen, other.peak_score)


@dataclass(slots=True)
class Summed:
    """What a host adds up to."""

    names: tuple[str, ...]
    by: dict[tuple[Any, ...], Sums] = field(default_factory=dict)
    """By the values of `names`."""
    whole: int = 0
    """So many hours of a key counted whole though the period cuts them in two: their snapshots have expired."""
    about: bool = False
    """Hours or days count whole of which only some snapshots match."""

    def at(self, place: tuple[Any, ...]) -> Sums:
        """The sums of one place."""
        there = self.by.get(place)
        if there is None:
            there = self.by[place] = Sums()
        return there


def add_up(connection: Connection, chosen: Chosen, *wanted: Sequence[str]) -> list[Summed]:
    """The sums of a host, in as many ways as are asked for: what is not rolled up is gone through once for all.

    Args:
        connection: the transaction.
        chosen: what to add up.
        wanted: each any of `key_id`, `origin_id`, `name_id` and START.

    Raises:
        PackingError: what is stored is damaged.
    """
    sums = [Summed(tuple(by)) for by in wanted]
    if chosen.nothing:
        return sums
    _add_snapshots(connection, sums, chosen, tail(connection, chosen))
    coarse = [each for each in sums if START not in each.names]
    for some, by_hours in ((coarse, False), ([each for each in sums if START in each.names], True)):
        if some:
            _add_rolled(connection, some, Cover.of(connection, chosen, by_hours=by_hours))
    return sums


def _add_rolled(connection: Connection, sums: Sequence[Summed], cover: Cover) -> None:
    for table, conditions in cover.parts():
        for summed in sums:
            _add_part(connection, summed, table, conditions)
            summed.about |= bool(summed.by) and not cover.chosen.exact
    snapshots, expired = cover.cut()
    _add_snapshots(connection, sums, cover.chosen, snapshots)
    for summed in sums:
        for row in expired:
            place = tuple(getattr(row, name) for name in summed.names)
            numbers = [getattr(row, name) for name in SUMMED]
            summed.at(place).add(numbers, row.handshake_us_max, row.first_seen, row.last_seen, row.peak_score)
        summed.whole = len(expired) + cover.cut_days()


def _add_part(connection: Connection, summed: Summed, table: Table, conditions: Sequence[ColumnElement[bool]]) -> None:
    columns = table.c
    places = [columns[name] for name in summed.names]
    statement = select(
        *places,
        *(func.sum(columns[name]) for name in SUMMED),
        func.max(columns.handshake_us_max),
        func.min(columns.first_seen),
        func.max(columns.last_seen),
        func.max(columns.peak_score),
    ).where(*conditions)
    for row in connection.execute(statement.group_by(*places) if places else statement):
        numbers = row[len(places) :]
        # Nothing adds up to a row of nothing, if it is by nothing.
        if numbers[0] is not None:
            summed.at(tuple(row[: len(places)])).add(map(int, numbers[: len(SUMMED)]), *numbers[len(SUMMED) :])


def _add_snapshots(connection: Connection, sums: Sequence[Summed], chosen: Chosen, found: Iterable[Matching]) -> None:
    matching = list(found)
    scored = with_scores(connection, chosen.host_id, (snapshot for snapshot, _ in matching))
    for snapshot, (_, rows) in zip(scored, matching, strict=True):
        counts, observed, hour = snapshot.counts, snapshot.observations, floor(snapshot.start, HOUR)
        columns = [counts[name] for name in _COUNTS]
        longest = counts["handshake_us_max"]
        for row in rows:
            numbers = [1, *(column[row] for column in columns)]
            score = None if observed is None else observed.score(row)
            for summed in sums:
                place = tuple([hour if name == START else counts[name][row] for name in summed.names])
                summed.at(place).add(numbers, longest[row], snapshot.start, snapshot.end, score)
