"""Packed counts of many snapshots as arrays: for looking at very many, where Python's own numbers take too long.

Apart from `packing`, since collectors import that, and hold no numpy.
"""

from __future__ import annotations

import zlib
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from detector.store.packing import COUNT_COLUMNS, DIFFERENCES, HEAD_BYTES, PackingError, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

_WIDTHS = {b"0"[0]: 0, b"b"[0]: 1, b"h"[0]: 2, b"i"[0]: 4, b"q"[0]: 8}
_TYPES = {width: np.dtype(f"<i{width}") for width in _WIDTHS.values() if width}
# By the code of a column.
_WIDTH_OF = np.full(256, -1, dtype=np.int64)
_WIDTH_OF[list(_WIDTHS)] = list(_WIDTHS.values())
_NUMBERS = {name: number for number, name in enumerate(COUNT_COLUMNS)}
_WIDEST_BYTES = 8


class CountArrays:
    """The columns of what `packing.pack_counts` made of some snapshots, each made when it is asked for.

    All snapshots together, since what numpy does with each alone takes longer than all else.
    """

    def __init__(self, contents: Sequence[bytes]) -> None:
        """`contents`: of a snapshot each; of one that is damaged there are no rows."""
        bodies = [_unpacked(content) for content in contents]
        self._bodies = [body for body, _ in bodies]
        rows = np.array([rows for _, rows in bodies], dtype=np.int64)
        sizes = np.array(list(map(len, self._bodies)), dtype=np.int64)
        # Behind the last one, what is damaged may point to.
        joined = np.frombuffer(b"".join([*self._bodies, b"?"]), dtype=np.uint8)
        begins: Numbers = np.cumsum(sizes) - sizes
        at: Numbers = np.zeros(len(rows), dtype=np.int64)
        whole = sizes > 0
        # Of each column, by snapshot: how wide its values are, and where they begin.
        self._places: list[tuple[Numbers, Numbers]] = []
        for _ in COUNT_COLUMNS:
            whole &= at < sizes
            width = _WIDTH_OF[joined[np.where(whole, begins + at, len(joined) - 1)]]
            whole &= width >= 0
            self._places.append((width, at + 1))
            at = np.asarray(at + 1 + np.maximum(width, 0) * rows, dtype=np.int64)
        whole &= at <= sizes
        self.damaged = np.flatnonzero(~whole)
        """Which of the snapshots."""
        self.rows: Numbers = np.where(whole, rows, 0)
        """How many rows each has."""
        self._known: dict[str, Numbers] = {}

    def column(self, name: str) -> Numbers:
        """The values of one of COUNT_COLUMNS, of all rows of all snapshots."""
        if name not in self._known:
            values = self._stored(_NUMBERS[name])
            if not _NUMBERS[name]:
                values = self._summed(values)
            elif (usual := DIFFERENCES.get(name)) is not None:
                values = values + self.column(usual)
            self._known[name] = values
        return self._known[name]

    def _stored(self, number: int) -> Numbers:
        widths, places = (each.tolist() for each in self._places[number])
        rows = self.rows.tolist()
        found: list[npt.NDArray[np.signedinteger]] = []
        # Neighbours whose values are as wide are read at once.
        for width, several in groupby(range(len(rows)), key=widths.__getitem__):
            alike = [each for each in several if rows[each]]
            if not width:
                found.append(np.zeros(sum(rows[each] for each in alike), dtype=np.int8))
                continue
            parts = [self._bodies[each][places[each] : places[each] + width * rows[each]] for each in alike]
            if parts:
                found.append(np.frombuffer(b"".join(parts), dtype=_TYPES[width]))
        return np.concatenate(found).astype(np.int64) if found else np.zeros(0, dtype=np.int64)

    def _summed(self, differences: Numbers) -> Numbers:
        """Sums of differences, which begin anew with each snapshot."""
        sums = np.cumsum(differences)
        firsts = np.cumsum(self.rows) - self.rows
        before = np.where(firsts > 0, sums[np.maximum(firsts, 1) - 1], 0) if len(sums) else firsts
        return np.asarray(sums - np.repeat(before, self.rows))


def _unpacked(content: bytes) -> tuple[bytes, int]:
    """The columns, and how many rows they have; nothing of what is damaged."""
    try:
        rows = rows_of(content)
        unpacker = zlib.decompressobj()
        most = len(COUNT_COLUMNS) * (1 + rows * _WIDEST_BYTES)
        body = unpacker.decompress(memoryview(content)[HEAD_BYTES:], most)
    except (PackingError, zlib.error):
        return b"", 0
    return (body, rows) if unpacker.eof else (b"", 0)


class KeySet:
    """Numbers of keys, to be found among many."""

    def __init__(self, keys: Collection[int]) -> None:
        self._there = np.zeros(max(keys, default=0) + 2, dtype=np.bool_)
        self._there[list(keys)] = True

    def of(self, keys: Numbers) -> npt.NDArray[np.bool_]:
        """Which of `keys` are among them."""
        # A negative one, of a database that was tampered with, is then larger than all.
        return self._there[np.minimum(keys.view(np.uint64), np.uint64(len(self._there) - 1))]
