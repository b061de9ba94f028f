"""Adds up what is chosen of a host over a period, by the numbers of keys and of what else is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.store.cover import Cover, tail
from detector.store.matching import with_scores
from detector.store.packing_observations import score_of
from detector.store.periods import SUMMED
from detector.store.rollups import HOUR, floor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.chosen import Chosen
    from detector.store.matching import Matching
    from detector.store.packed import PackedSnapshot

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

    def merge(self, other: Sums) -> None:
        """Adds the sums of others."""
        self.numbers = [one + more for one, more in zip(self.numbers, other.numbers, strict=True)]
        self.handshake_us_max = max(self.handshake_us_max, other.handshake_us_max)
        if self.first_seen is None or (other.first_seen is not None and other.first_seen < self.first_seen):
            self.first_seen = other.first_seen
        if self.last_seen is None or (other.last_seen is not None and other.last_seen > self.last_seen):
            self.last_seen = other.last_seen
        if self.peak_score is None or (other.peak_score is not None and other.peak_score > self.peak_score):
            self.peak_score = other.peak_score


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

    def add(self, place: tuple[Any, ...], sums: Sums) -> None:
        """Adds sums, which are nobody else's, to those of a place."""
        there = self.by.setdefault(place, sums)
        if there is not sums:
            there.merge(sums)


def add_up(connection: Connection, chosen: Chosen, *wanted: Sequence[str], scores: bool = True) -> list[Summed]:
    """The sums of a host, in as many ways as are asked for: what is not rolled up is gone through once for all.

    Args:
        connection: the transaction.
        chosen: what to add up.
        wanted: each any of `key_id`, `origin_id`, `name_id` and START.
        scores: whether the highest score matters too.
    """
    sums = [Summed(tuple(by)) for by in wanted]
    if chosen.nothing:
        return sums
    _add_snapshots(connection, sums, chosen, tail(connection, chosen), scores=scores)
    coarse = [each for each in sums if START not in each.names]
    for some, by_hours in ((coarse, False), ([each for each in sums if START in each.names], True)):
        if some:
            _add_rolled(connection, some, Cover.of(connection, chosen, by_hours=by_hours), scores=scores)
    return sums


def _add_rolled(connection: Connection, sums: Sequence[Summed], cover: Cover, *, scores: bool) -> None:
    for table, conditions in cover.parts():
        for summed in sums:
            _add_part(connection, summed, table, conditions)
            summed.about |= bool(summed.by) and not cover.chosen.exact
    snapshots, expired = cover.cut()
    _add_snapshots(connection, sums, cover.chosen, snapshots, scores=scores)
    for summed in sums:
        for row in expired:
            place = tuple(getattr(row, name) for name in summed.names)
            numbers = [getattr(row, name) for name in SUMMED]
            summed.add(place, Sums(numbers, row.handshake_us_max, row.first_seen, row.last_seen, row.peak_score))
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
    first, last = len(places), len(places) + len(SUMMED)
    for row in connection.execute(statement.group_by(*places) if places else statement).all():
        # Nothing adds up to a row of nothing, if it is by nothing.
        if row[first] is not None:
            summed.add(tuple(row[:first]), Sums(list(map(int, row[first:last])), *row[last:]))


def _add_snapshots(
    connection: Connection, sums: Sequence[Summed], chosen: Chosen, found: Iterable[Matching], *, scores: bool
) -> None:
    matching = list(found)
    scored: Iterable[PackedSnapshot] = [snapshot for snapshot, _ in matching]
    if scores:
        scored = with_scores(connection, chosen.host_id, scored)
    # Of everything that any of them is by; there are far fewer of these than rows.
    names = tuple(dict.fromkeys(name for summed in sums for name in summed.names))
    finest: dict[tuple[Any, ...], list[Any]] = {}
    for snapshot, (_, rows) in zip(scored, matching, strict=True):
        _add_rows(finest, names, snapshot, rows)
    for summed in sums:
        places = [names.index(name) for name in summed.names]
        for place, numbers in finest.items():
            *counts, longest, first, last, surprise = numbers
            score = None if surprise < 0 else score_of(surprise)
            summed.add(tuple([place[at] for at in places]), Sums(counts, longest, first, last, score))


def _add_rows(
    finest: dict[tuple[Any, ...], list[Any]], names: Sequence[str], snapshot: PackedSnapshot, rows: Sequence[int]
) -> None:
    """Adds rows of a snapshot to lists of what is in SUMMED, the longest handshake, the times and the surprise."""
    counts, observed = snapshot.counts, snapshot.observations
    start, end = snapshot.start, snapshot.end
    hour = [floor(start, HOUR)] * len(rows)
    places = [hour if name == START else [counts[name][row] for row in rows] for name in names]
    columns = [[counts[name][row] for row in rows] for name in (*_COUNTS, "handshake_us_max")]
    surprises = [-1.0] * len(rows) if observed is None else [observed.surprise[row] for row in rows]
    for place, *summed, longest, surprise in zip(
        zip(*places, strict=True) if places else [()] * len(rows), *columns, surprises, strict=True
    ):
        known = finest.get(place)
        if known is None:
            # NaN: the host was being learnt.
            finest[place] = [1, *summed, longest, start, end, -1.0 if isnan(surprise) else surprise]
            continue
        known[0] += 1
        for at, number in enumerate(summed, start=1):
            known[at] += number
        known[-4] = max(known[-4], longest)
        known[-3] = min(known[-3], start)
        known[-2] = max(known[-2], end)
        # What is known stays where the other is NaN, which is neither more nor less.
        known[-1] = max(known[-1], surprise)
