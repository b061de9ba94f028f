"""Packed counts as arrays: for looking at very many snapshots, where Python's own numbers take too long.

Apart from `packing`, since collectors import that, and hold no numpy.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from detector.store.packing import COUNT_COLUMNS, DIFFERENCES, HEAD_BYTES, PackingError, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

# By the code of a column; "0" stands for nothing but zeros.
_TYPES = {code: np.dtype(f"<i{size}") for code, size in zip(b"bhiq", (1, 2, 4, 8), strict=True)}
_ZERO = b"0"[0]
_NUMBERS = {name: number for number, name in enumerate(COUNT_COLUMNS)}
_WIDEST_BYTES = 8


class CountArrays:
    """The columns of `packing.pack_counts`, each made when it is asked for."""

    __slots__ = ("_body", "_places", "rows")

    def __init__(self, content: bytes) -> None:
        """Raises:
        PackingError: it is not what `pack_counts` makes.
        """
        self.rows = rows_of(content)
        unpacker = zlib.decompressobj()
        try:
            self._body = unpacker.decompress(
                memoryview(content)[HEAD_BYTES:], len(COUNT_COLUMNS) * (1 + self.rows * _WIDEST_BYTES)
            )
        except zlib.error:
            raise PackingError from None
        if not unpacker.eof:
            raise PackingError
        # Of the columns that were come to: the code, and where its values begin.
        self._places: list[tuple[int, int]] = []

    def column(self, name: str) -> Numbers:
        """The values of one of COUNT_COLUMNS, one a row.

        Raises:
            PackingError: as above.
        """
        values = self._stored(_NUMBERS[name])
        if not _NUMBERS[name]:
            return values.cumsum(dtype=np.int64)
        usual = DIFFERENCES.get(name)
        return values.astype(np.int64) if usual is None else values + self.column(usual)

    def _stored(self, number: int) -> npt.NDArray[np.signedinteger]:
        while len(self._places) <= number:
            at = self._next()
            if at >= len(self._body):
                raise PackingError
            self._places.append((self._body[at], at + 1))
        code, at = self._places[number]
        if code == _ZERO:
            return np.zeros(self.rows, dtype=np.int64)
        kind = _TYPES.get(code)
        if kind is None or at + kind.itemsize * self.rows > len(self._body):
            raise PackingError
        return np.frombuffer(self._body, dtype=kind, count=self.rows, offset=at)

    def _next(self) -> int:
        """Where the column begins that was not come to yet."""
        if not self._places:
            return 0
        code, at = self._places[-1]
        kind = _TYPES.get(code)
        return at if kind is None else at + kind.itemsize * self.rows


def keys_of(contents: Sequence[bytes]) -> tuple[Numbers, Numbers]:
    """The keys of many packed snapshots, one after another, and how many each has; none of one that is damaged.

    Together, since what numpy does with each alone takes longer than all else.
    """
    lengths = np.zeros(len(contents), dtype=np.int64)
    # Of neighbours that are stored alike, the differences are read at once.
    kind: np.dtype[np.signedinteger] | None = None
    alike: list[bytes] = []
    differences: list[npt.NDArray[np.signedinteger]] = []
    for number, content in enumerate(contents):
        try:
            found, written, rows = _key_differences(content)
        except PackingError:
            continue
        if found is not kind and alike:
            differences.append(np.frombuffer(b"".join(alike), dtype=kind))
            alike = []
        kind, lengths[number] = found, rows
        alike.append(written)
    if not lengths.any():
        return np.zeros(0, dtype=np.int64), lengths
    differences.append(np.frombuffer(b"".join(alike), dtype=kind))
    sums = np.cumsum(np.concatenate(differences), dtype=np.int64)
    # Each begins anew.
    firsts = np.cumsum(lengths) - lengths
    before = np.where(firsts > 0, sums[np.maximum(firsts, 1) - 1], 0)
    return sums - np.repeat(before, lengths), lengths


def _key_differences(content: bytes) -> tuple[np.dtype[np.signedinteger], bytes, int]:
    rows = rows_of(content)
    try:
        begin = zlib.decompressobj().decompress(memoryview(content)[HEAD_BYTES:], 1 + rows * _WIDEST_BYTES)
    except zlib.error:
        raise PackingError from None
    kind = _TYPES.get(begin[0]) if begin else None
    if begin[:1] == b"0":
        return _TYPES[b"b"[0]], bytes(rows), rows
    if kind is None or len(begin) <= kind.itemsize * rows:
        raise PackingError
    return kind, begin[1 : 1 + kind.itemsize * rows], rows


class KeySet:
    """Numbers of keys, to be found among many."""

    def __init__(self, keys: Collection[int]) -> None:
        self._there = np.zeros(max(keys, default=0) + 2, dtype=np.bool_)
        self._there[list(keys)] = True

    def of(self, keys: Numbers) -> npt.NDArray[np.bool_]:
        """Which of `keys` are among them."""
        return self._there[np.minimum(keys, len(self._there) - 1)]
