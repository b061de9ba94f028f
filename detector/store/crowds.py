"""Narrows a past down to where so much comes together as a correlation asks for, by keys and counts alone.

Time is cut into pieces of the window's length: a window reaches into two of them, so that what passes in it is in the
sum of both.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from detector.store.moments import microseconds
from detector.store.packed_arrays import CountArrays
from detector.store.tables import packed_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    from sqlalchemy import Connection

    from detector.store.extent import Crowded, Span, Time

    Numbers = npt.NDArray[np.int64]

# So many snapshots are read at once, or those of so many rows: some have ten thousand.
_PAGE = 2_000
_FIRST_PAGE = 200
_MOST_ROWS = 200_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Crowds:
    """Looks for what comes together among some keys.

    Args:
        groups: by key what it is grouped by.
        values: by key the value that is counted; None: connects are added up.
        crowd: how much is enough, and in which time.
    """

    def __init__(self, groups: Mapping[int, tuple[Any, ...]], values: Mapping[int, Any] | None, crowd: Crowded) -> None:
        self._of, self._crowd, self._distinct = groups, crowd, values is not None
        self._groups: dict[tuple[Any, ...], int] = {}
        numbers: dict[Any, int] = {}
        largest = max(groups, default=0)
        # One more, for keys that are not among them.
        self._group = np.full(largest + 2, -1, dtype=np.int64)
        self._value = np.zeros(largest + 2, dtype=np.int64)
        for key_id, group in groups.items():
            value = None if values is None else values[key_id]
            if values is None or value is not None:
                self._group[key_id] = self._groups.setdefault(group, len(self._groups))
                self._value[key_id] = numbers.setdefault(value, len(numbers))
        self._values = len(numbers) or 1
        self._timespan = crowd.timespan // _MICROSECOND
        # Of the piece of time before, and of the one at hand.
        self._before, self._here = (-1, self._none()), (-1, self._none())
        self._keys: list[Numbers] = []
        self._numbers: list[Numbers] = []
        self._passing: set[int] = set()
        self.times: list[Time] = []
        """When the rows are that they may pass with."""

    @property
    def keys(self) -> frozenset[int]:
        """Those of groups that pass somewhere."""
        return frozenset(key_id for key_id, group in self._of.items() if self._groups.get(group) in self._passing)

    def look(self, connection: Connection, host_id: int, spans: Sequence[Span]) -> bool:
        """Looks at snapshots; False: their times are out of order, and nothing can be said."""
        last = 0
        for page in _packed(connection, host_id, spans):
            ends = np.array([row.end for row in page], dtype=np.int64)
            if ends[0] < last or (np.diff(ends) < 0).any():
                return False
            last = int(ends[-1])
            # One that is damaged has no rows; who reads it says so.
            arrays = CountArrays([row.content for row in page])
            keys = arrays.column("key_id")
            numbers = (
                None
                if self._distinct
                else sum(map(arrays.column, self._crowd.sums[1:]), arrays.column(self._crowd.sums[0]))
            )
            pieces = ends // self._timespan
            after = np.cumsum(arrays.rows)
            for piece in np.unique(pieces).tolist():
                if piece != self._here[0]:
                    self._close()
                    self._before, self._here = self._here, (piece, self._none())
                of_piece = np.flatnonzero(pieces == piece)
                rows = slice(int(after[of_piece[0]] - arrays.rows[of_piece[0]]), int(after[of_piece[-1]]))
                self._keys.append(keys[rows])
                if numbers is not None:
                    self._numbers.append(numbers[rows])
        self._close()
        return True

    def _none(self) -> Numbers:
        return np.zeros(len(self._groups), dtype=np.int64)

    def _close(self) -> None:
        """Sees what the piece at hand comes to, together with the one before."""
        piece, counts = self._here
        if self._keys:
            keys = np.minimum(np.concatenate(self._keys), len(self._group) - 1)
            groups = self._group[keys]
            wanted = groups >= 0
            groups = groups[wanted]
            if self._distinct:
                codes = np.unique(groups * self._values + self._value[keys[wanted]])
                counts += np.bincount(codes // self._values, minlength=len(counts))
            else:
                weights = np.concatenate(self._numbers)[wanted]
                counts += np.bincount(groups, weights, len(counts)).astype(np.int64)
            self._keys.clear()
            self._numbers.clear()
        before = self._before[1] if self._before[0] == piece - 1 else 0
        passing = np.flatnonzero(counts + before >= self._crowd.threshold)
        if len(passing) and piece >= 0:
            self._passing.update(passing.tolist())
            start = _EPOCH + piece * self._crowd.timespan
            self.times.append((start - self._crowd.timespan - _MICROSECOND, start + self._crowd.timespan))


def _packed(connection: Connection, host_id: int, spans: Sequence[Span]) -> Iterator[Sequence[Any]]:
    here = packed_counts.c
    columns = here.seq, microseconds(here.end).label("end"), here.rows, here.content
    statement = select(*columns).where(here.host_id == host_id).order_by(here.seq)
    most = _FIRST_PAGE
    for first, last in spans:
        at = first
        while at <= last:
            page = connection.execute(statement.where(here.seq.between(at, last)).limit(most)).all()
            if page:
                yield page
            at = page[-1].seq + 1 if len(page) == most else last + 1
            rows = sum(row.rows for row in page) // (len(page) or 1)
            most = min(max(_MOST_ROWS // (rows or 1), 1), _PAGE)
