"""Reads the rows of a stored past that may matter to a rule, a few thousand at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from detector.store import bulk, damage
from detector.store.packed import observations_of
from detector.store.packed_arrays import CountArrays, KeySet, keys_of
from detector.store.packing import (
    COUNT_COLUMNS,
    PackedObservations,
    PackingError,
    unpack_said,
    words_of,
)
from detector.store.tables import packed_counts, packed_observations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.extent import Part, Span

    Columns = CountArrays
    Rows = Mapping[int, Mapping[str, Any] | None]
    # With seq, end and content, and counts also with how many rows there are.
    Packed = Any

# Packed, some hundred kB.
_PAGE = 500
_MOST_SAID = 10_000


@dataclass(slots=True)
class Candidates:
    """Rows that may matter."""

    ends: dict[int, datetime] = field(default_factory=dict)
    """When the snapshots ended that have rows here, by number."""
    counts: list[tuple[Any, ...]] = field(default_factory=list)
    """Of `connection_counts`, less `host_id`. Of origins and names, 0 stands for none."""
    said: list[tuple[Any, ...]] = field(default_factory=list)
    """Of `observations`, less `host_id`."""

    def add(self, seq: int, end: datetime, columns: Columns, rows: Rows) -> None:
        """Adds rows of a snapshot."""
        self.ends[seq] = end
        chosen = list(rows)
        values = [columns.column(name)[chosen].tolist() for name in COUNT_COLUMNS]
        self.counts.extend(zip(repeat(seq), *values))
        for key_id, session, said in zip(values[0], values[1], rows.values(), strict=True):
            if said is not None:
                self.said.append((seq, key_id, session, *said.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads a host's rows."""

    connection: Connection
    host_id: int
    scores: bool
    """Whether what detection says is wanted."""
    may_say: Callable[[str | None, str | None], bool] | None
    """Whether rows may matter of which detection says this channel and novelty; None: whatever it says."""
    most_rows: int
    told: Callable[[int], None]
    """Is called with the number of the snapshot that reading has come to."""

    def read(self, part: Part) -> Iterator[Candidates]:
        """The rows of a part, some `most_rows` at a time, in the order of snapshots; those of one stay together.

        Raises:
            StoreError: the database is away.
        """
        # Detection says nothing of most snapshots that is asked for.
        pages = self._counted if self.may_say is None or self.may_say(None, None) else self._worded
        wanted, found = KeySet(part.keys), Candidates()
        for span in part.spans:
            for until, page in pages(span):
                self.told(until)
                for seq, end, columns, rows in self._wanted(page, wanted):
                    found.add(seq, end, columns, rows)
                    if len(found.counts) >= self.most_rows:
                        yield found
                        found = Candidates()
        if found.counts:
            yield found

    def _counted(self, span: Span) -> Iterator[tuple[int, Sequence[Packed]]]:
        """Pages of packed counts, each with the number that reading has come to."""
        first, last = span
        while first <= last:
            page = self._packed(packed_counts, packed_counts.c.seq.between(first, last))
            first = page[-1].seq + 1 if len(page) == _PAGE else last + 1
            yield first - 1, page

    def _worded(self, span: Span) -> Iterator[tuple[int, Sequence[Packed]]]:
        """The same, but for snapshots of which detection says nothing that may matter."""
        first, last = span
        known: dict[bytes, bool] = {}
        while first <= last:
            page = self._packed(packed_observations, packed_observations.c.seq.between(first, last))
            first = page[-1].seq + 1 if len(page) == _PAGE else last + 1
            wanted = set()
            for row in page:
                try:
                    said = unpack_said(row.content)
                    if said not in known:
                        # Sentences differ; where there are none, few are different.
                        known = known if len(known) < _MOST_SAID else {}
                        known[said] = bool(self._pairs(words_of(said)))
                except PackingError:
                    damage.note(self.connection, self.host_id, row.seq)
                    continue
                if known[said]:
                    wanted.add(row.seq)
            here = bulk.among(self.connection, packed_counts.c.seq, wanted)
            yield first - 1, self._packed(packed_counts, here) if wanted else []

    def _packed(self, table: Table, *conditions: ColumnElement[bool]) -> Sequence[Packed]:
        here = table.c
        columns = [here.seq, here.end, here.content, *([here.rows] if "rows" in here else [])]
        statement = select(*columns).where(here.host_id == self.host_id, *conditions)
        return self.connection.execute(statement.order_by(here.seq).limit(_PAGE)).all()

    def _wanted(self, page: Sequence[Packed], wanted: KeySet) -> Iterator[tuple[int, datetime, Columns, Rows]]:
        """The rows of a page that have wanted keys, and of which detection says what is wanted."""
        found: list[tuple[int, datetime, Columns, list[int]]] = []
        keys, lengths = keys_of([packed.content for packed in page])
        chosen = wanted.of(keys)
        firsts = np.cumsum(lengths) - lengths
        # Of most snapshots nothing else is read.
        there = np.unique(np.searchsorted(firsts, np.flatnonzero(chosen), side="right") - 1)
        for number in np.flatnonzero(lengths == 0).tolist():
            if page[number].rows:
                damage.note(self.connection, self.host_id, page[number].seq)
        for number in there.tolist():
            packed = page[number]
            first = firsts[number]
            try:
                columns = CountArrays(packed.content)
                # The last one says whether all are whole.
                columns.column(COUNT_COLUMNS[-1])
            except PackingError:
                damage.note(self.connection, self.host_id, packed.seq)
                continue
            rows = np.flatnonzero(chosen[first : first + lengths[number]]).tolist()
            found.append((packed.seq, packed.end, columns, rows))
        if not self.scores or not found:
            yield from ((seq, end, columns, dict.fromkeys(rows)) for seq, end, columns, rows in found)
            return
        numbers = {seq for seq, *_ in found}
        said = self._packed(packed_observations, bulk.among(self.connection, packed_observations.c.seq, numbers))
        contents = {(each.seq, each.end): each.content for each in said}
        for seq, end, columns, rows in found:
            content = contents.get((seq, end))
            observed = None if content is None else observations_of(self.connection, self.host_id, seq, content)
            if kept := self._observed(observed, rows):
                yield seq, end, columns, kept

    def _observed(self, observed: PackedObservations | None, rows: Sequence[int]) -> Rows:
        """What detection says of rows, of those of which it says what is wanted."""
        if observed is None:
            return dict.fromkeys(rows) if self.may_say is None or self.may_say(None, None) else {}
        if self.may_say is not None:
            pairs = self._pairs(observed.words)
            places = zip(observed.channel, observed.novelty, strict=True)
            fitting = [pair in pairs for pair in places]
            rows = [row for row in rows if fitting[row]]
        return {row: observed.row(row) for row in rows}

    def _pairs(self, words: Sequence[str | None]) -> set[tuple[int, int]]:
        """The places of channels and novelties that may matter."""
        may_say = self.may_say
        assert may_say is not None  # noqa: S101 - a fault of ours
        places = [(channel, novelty) for channel in range(len(words)) for novelty in range(len(words))]
        return {(channel, novelty) for channel, novelty in places if may_say(words[channel], words[novelty])}
