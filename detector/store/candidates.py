"""Reads the rows of a stored past that may matter to a rule, some ten thousand at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from detector.store import bulk, damage
from detector.store.moments import microseconds
from detector.store.packed import observations_of
from detector.store.packed_arrays import CountArrays, KeySet
from detector.store.packing import PackingError, rows_of
from detector.store.packing_observations import NO_OBSERVATION, PackedObservations, read_said, unpack_said
from detector.store.tables import packed_counts, packed_observations

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt
    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.extent import Part, Span

    Numbers = npt.NDArray[np.int64]
    Said = tuple[Any, ...]
    # With seq, end (in microseconds) and content, and counts also with how many rows there are.
    Packed = Any

# Of snapshots with few rows; and before it is known how many they have.
_PAGE = 2_000
_FIRST_PAGE = 500
_MOST_SAID = 10_000

OBSERVED = tuple(NO_OBSERVATION)
"""What detection says of a row, in the order of `Candidates.said`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Rows that may matter, in the order of their snapshots."""

    seqs: Numbers
    """Of each row its snapshot."""
    columns: Mapping[str, Numbers]
    """What was asked for of `packing.COUNT_COLUMNS`, a value a row. Of origins and names, 0 stands for none."""
    said: Sequence[Said] | None
    """OBSERVED of each row, None where that is not wanted or detection says nothing; None: nothing is wanted."""

    def only(self, rows: Numbers | npt.NDArray[np.bool_], seqs: Numbers | None = None) -> Candidates:
        """Some of the rows; `seqs` is what stands in place of their snapshots."""
        chosen = np.arange(len(self.seqs))[rows]
        return Candidates(
            seqs=self.seqs[chosen] if seqs is None else seqs,
            columns={name: values[chosen] for name, values in self.columns.items()},
            said=None if self.said is None else [self.said[each] for each in chosen.tolist()],
        )

    @property
    def span(self) -> Span:
        """The first and the last snapshot that has rows here."""
        return int(self.seqs[0]), int(self.seqs[-1])


@dataclass(slots=True)
class _Gathered:
    """Rows, page by page."""

    names: Sequence[str]
    scores: bool
    rows: int = 0
    seqs: list[Numbers] = field(default_factory=list)
    columns: list[list[Numbers]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)

    def all(self) -> Candidates:
        columns = map(np.concatenate, zip(*self.columns, strict=True))
        return Candidates(
            seqs=np.concatenate(self.seqs),
            columns=dict(zip(self.names, columns, strict=True)),
            said=self.said if self.scores else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads a host's rows."""

    connection: Connection
    host_id: int
    columns: Sequence[str]
    """Which of `packing.COUNT_COLUMNS` are wanted."""
    said: Collection[str]
    """Which of OBSERVED are wanted."""
    may_say: Callable[[str | None, str | None, bool | None], bool] | None
    """Whether rows may matter of which detection says this channel and novelty, and whether they are unusual; None:
    whatever it says.
    """
    most_rows: int
    told: Callable[[int], None]
    """Is called with the number of the snapshot that reading has come to."""

    def read(self, part: Part) -> Iterator[Candidates]:
        """The rows of a part, some `most_rows` at a time, in the order of snapshots; those of one stay together.

        Raises:
            StoreError: the database is away.
        """
        # Detection says nothing of most snapshots that is asked for.
        pages = self._counted if self.may_say is None or self.may_say(None, None, None) else self._worded
        wanted, found = KeySet(part.keys), _Gathered(self.columns, bool(self.said))
        for span in part.spans:
            for until, page in pages(span):
                self.told(until)
                self._gather(found, page, wanted)
                if found.rows >= self.most_rows:
                    yield found.all()
                    found = _Gathered(self.columns, bool(self.said))
        if found.rows:
            yield found.all()

    def _counted(self, span: Span) -> Iterator[tuple[int, Sequence[Packed]]]:
        """Pages of packed counts, each with the number that reading has come to."""
        first, last = span
        most = min(_FIRST_PAGE, self.most_rows)
        while first <= last:
            page = self._packed(packed_counts, most, packed_counts.c.seq.between(first, last))
            first = page[-1].seq + 1 if len(page) == most else last + 1
            yield first - 1, page
            # About as many rows as are wanted at once.
            rows = sum(each.rows for each in page) // (len(page) or 1)
            most = min(max(self.most_rows // (rows or 1), 1), _PAGE)

    def _worded(self, span: Span) -> Iterator[tuple[int, Sequence[Packed]]]:
        """The same, but for snapshots of which detection says nothing that may matter."""
        first, last = span
        known: dict[bytes, bool] = {}
        while first <= last:
            page = self._packed(packed_observations, _FIRST_PAGE, packed_observations.c.seq.between(first, last))
            first = page[-1].seq + 1 if len(page) == _FIRST_PAGE else last + 1
            wanted = set()
            for row in page:
                try:
                    said = unpack_said(row.content)
                    if said not in known:
                        # Sentences differ; where there are none, few are different.
                        known = known if len(known) < _MOST_SAID else {}
                        read = read_said(said, rows_of(row.content))
                        known[said] = bool(self._fitting(read.words, read.unusual))
                except PackingError:
                    damage.note(self.connection, self.host_id, row.seq)
                    continue
                if known[said]:
                    wanted.add(row.seq)
            here = bulk.among(self.connection, packed_counts.c.seq, wanted)
            yield first - 1, self._packed(packed_counts, _FIRST_PAGE, here) if wanted else []

    def _packed(self, table: Table, most: int, *conditions: ColumnElement[bool]) -> Sequence[Packed]:
        here = table.c
        columns = [
            here.seq,
            microseconds(here.end).label("end"),
            here.content,
            *([here.rows] if "rows" in here else []),
        ]
        statement = select(*columns).where(here.host_id == self.host_id, *conditions)
        return self.connection.execute(statement.order_by(here.seq).limit(most)).all()

    def _gather(self, found: _Gathered, page: Sequence[Packed], wanted: KeySet) -> None:
        """Takes up the rows of a page that have wanted keys, and of which detection says what is wanted."""
        arrays = CountArrays([packed.content for packed in page])
        for number in arrays.damaged.tolist():
            damage.note(self.connection, self.host_id, page[number].seq)
        chosen = np.flatnonzero(wanted.of(arrays.column("key_id")))
        if not len(chosen):
            return
        which = np.repeat(np.arange(len(page)), arrays.rows)[chosen]
        if self.said:
            there, said = self._observed(page, which, chosen - (np.cumsum(arrays.rows) - arrays.rows)[which])
            which, chosen = which[there], chosen[there]
            found.said += said
        found.seqs.append(np.array([packed.seq for packed in page], dtype=np.int64)[which])
        found.columns.append([arrays.column(name)[chosen] for name in self.columns])
        found.rows += len(chosen)

    def _observed(self, page: Sequence[Packed], which: Numbers, rows: Numbers) -> tuple[Numbers, list[Said]]:
        """Those of some rows of which detection says what is wanted, and what it says.

        Args:
            page: snapshots.
            which: of each row its snapshot, by its place in the page.
            rows: its number among those of the snapshot.
        """
        numbers, firsts = np.unique(which, return_index=True)
        seqs = [page[each].seq for each in numbers.tolist()]
        said = self._packed(
            packed_observations, len(seqs), bulk.among(self.connection, packed_observations.c.seq, seqs)
        )
        contents = {(each.seq, each.end): each.content for each in said}
        there: list[int] = []
        found: list[Said] = []
        for number, first, of_snapshot in zip(
            numbers.tolist(), firsts.tolist(), np.split(rows, firsts[1:]), strict=True
        ):
            seq = page[number].seq
            content = contents.get((seq, page[number].end))
            observed = None if content is None else observations_of(self.connection, self.host_id, seq, content)
            for place, row in self._wanted(observed, of_snapshot.tolist()):
                there.append(first + place)
                values = NO_OBSERVATION if observed is None else observed.row(row)
                found.append(tuple(value if name in self.said else None for name, value in values.items()))
        return np.array(there, dtype=np.int64), found

    def _wanted(self, observed: PackedObservations | None, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Those of a snapshot's rows of which detection says what is wanted, each with its place among them."""
        if observed is None:
            yield from enumerate(rows) if self.may_say is None or self.may_say(None, None, None) else ()
            return
        fitting = None if self.may_say is None else self._fitting(observed.words, observed.unusual)
        for place, row in enumerate(rows):
            said = observed.channel[row], observed.novelty[row], observed.is_unusual(row)
            if fitting is None or said in fitting:
                yield place, row

    def _fitting(
        self, words: Sequence[str | None], unusual: frozenset[int] | None
    ) -> set[tuple[int, int, bool | None]]:
        """The places of channels and novelties, with whether rows are unusual, that may matter."""
        may_say = self.may_say
        assert may_say is not None  # noqa: S101 - a fault of ours
        flags = (None, False, True) if unusual else (None, False) if unusual is not None else (None,)
        places = product(range(len(words)), range(len(words)), flags)
        return {
            (channel, novelty, flag)
            for channel, novelty, flag in places
            if may_say(words[channel], words[novelty], flag)
        }
