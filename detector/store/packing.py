"""Packs the rows of a snapshot into columns, which take far less room than single rows.

A byte for the version, the number of rows (4 bytes), and, compressed by zlib, the columns: a byte for the type of the
values, as `array` and `struct` name it, and these, little-endian. "0" stands for nothing but zeros. Some are written as
differences, which are small: keys, which are sorted, to the one before; what was established to what was attempted; the
sum of handshakes to the longest.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from itertools import accumulate, pairwise
from operator import add, sub
from typing import TYPE_CHECKING, Any

from detector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COUNT_COLUMNS = (
    "key_id",
    "session",
    "origin_id",
    "name_id",
    "attempted",
    "established",
    "refused",
    "timed_out",
    "failed",
    "handshake_us_total",
    "handshake_us_max",
)
"""Of packed counts, in this order. 0 stands for None in `origin_id` and `name_id`, whose numbers begin with 1."""

DIFFERENCES = {"established": "attempted", "handshake_us_total": "handshake_us_max"}
"""What is kept as the difference to another column."""
HEAD_BYTES = 5
"""The version, and how many rows there are."""
WHOLE = "bhiq"
"""The types of integers, of which the smallest that holds all values of a column is taken."""
_VERSION = b"\x01"
_NOTHING = b"0"
# The length of the rows is told before they are unpacked: what was written by a stranger must not fill the memory.
_MOST_ROWS = 4_000_000
_WIDEST_BYTES = 8
_LEVEL = 6


class PackingError(StoreError):
    """What is stored cannot be unpacked."""

    def __init__(self) -> None:
        super().__init__("what is stored of a snapshot cannot be read: it was not written by detector, or is damaged")


def pack_counts(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Counts as columns, sorted by key and session.

    Args:
        rows: each with COUNT_COLUMNS, of which none may be negative.
    """
    return pack_columns({name: [row[name] or 0 for row in rows] for name in COUNT_COLUMNS})


def pack_columns(columns: Mapping[str, Sequence[int]]) -> bytes:
    """The same of COUNT_COLUMNS, each with a value a row, 0 for None."""
    places = list(zip(columns["key_id"], columns["session"], strict=True))
    order = sorted(range(len(places)), key=places.__getitem__)
    ordered = {name: list(map(columns[name].__getitem__, order)) for name in COUNT_COLUMNS}
    keys = ordered["key_id"]
    differences = {"key_id": keys[:1] + [after - before for before, after in pairwise(keys)]}
    for name, usual in DIFFERENCES.items():
        differences[name] = list(map(sub, ordered[name], ordered[usual]))
    return packed(len(order), b"".join(map(whole, (ordered | differences).values())))


def unpack_counts(content: bytes) -> dict[str, Sequence[int]]:
    """The inverse of `pack_counts`: COUNT_COLUMNS, each with a value a row.

    Raises:
        PackingError: it is not what `pack_counts` makes.
    """
    reader = Reader(content, len(COUNT_COLUMNS) * _WIDEST_BYTES)
    columns: dict[str, Sequence[int]] = {name: reader.column(WHOLE) for name in COUNT_COLUMNS}
    columns["key_id"] = list(accumulate(columns["key_id"]))
    for name, usual in DIFFERENCES.items():
        columns[name] = list(map(add, columns[name], columns[usual]))
    return columns


def unpack_keys(content: bytes) -> Sequence[int]:
    """The first of COUNT_COLUMNS alone: most snapshots do not have the keys that are asked for.

    Raises:
        PackingError: it is not what `pack_counts` makes.
    """
    rows = rows_of(content)
    unpacker = zlib.decompressobj()
    try:
        # What follows, six times as long, is not unpacked.
        code = unpacker.decompress(content[HEAD_BYTES:], 1).decode("latin-1")
        if code == _NOTHING.decode():
            return bytes(rows)
        if code not in WHOLE or not code:
            raise PackingError
        length = rows * array(code).itemsize
        # 0 would mean all of it.
        packed = unpacker.decompress(unpacker.unconsumed_tail, length) if length else b""
    except zlib.error:
        raise PackingError from None
    if len(packed) != length:
        raise PackingError
    differences = array(code)
    differences.frombytes(packed)
    return list(accumulate(_little_endian(differences)))


def packed(rows: int, body: bytes) -> bytes:
    """The head, and columns one after another, compressed."""
    return _VERSION + struct.pack("<I", rows) + zlib.compress(body, _LEVEL)


def whole(values: Sequence[int]) -> bytes:
    """A column of integers."""
    largest = max(max(values, default=0), -min(values, default=0))
    if not largest:
        return _NOTHING
    code = next(code for code in WHOLE if largest < 1 << 8 * array(code).itemsize - 1)
    return code.encode() + _little_endian(array(code, values)).tobytes()


def floats(code: str, values: Sequence[float]) -> bytes:
    """A column of numbers: of two bytes each ("e") or of four ("f")."""
    return code.encode() + struct.pack(f"<{len(values)}{code}", *values)


def _little_endian(values: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        values.byteswap()
    return values


def rows_of(content: bytes) -> int:
    """How many rows there are, as the head says."""
    if content[:1] != _VERSION or len(content) < HEAD_BYTES:
        raise PackingError
    rows: int = struct.unpack_from("<I", content, 1)[0]
    if rows > _MOST_ROWS:
        raise PackingError
    return rows


class Reader:
    """Reads columns one after another.

    Args:
        content: what `packed` made.
        row_bytes: what a row may take at most when it is unpacked.

    Raises:
        PackingError: it is not what `packed` makes.
    """

    def __init__(self, content: bytes, row_bytes: int) -> None:
        self.rows = rows_of(content)
        most = HEAD_BYTES + 1024 + self.rows * row_bytes
        unpacker = zlib.decompressobj()
        try:
            self._body = unpacker.decompress(content[HEAD_BYTES:], most)
        except zlib.error:
            raise PackingError from None
        if not unpacker.eof:
            raise PackingError
        self._at = 0

    def column(self, codes: str) -> Sequence[Any]:
        """The next one, if its values are of one of these types.

        Raises:
            PackingError: they are not.
        """
        code = self._take(1).decode("latin-1")
        if code == _NOTHING.decode() and codes == WHOLE:
            return bytes(self.rows)
        if code not in codes:
            raise PackingError
        if code == "e":
            return struct.unpack(f"<{self.rows}e", self._take(2 * self.rows))
        values = array(code)
        values.frombytes(self._take(values.itemsize * self.rows))
        return _little_endian(values)

    @property
    def ended(self) -> bool:
        """Whether there is no more."""
        return self._at == len(self._body)

    def text(self) -> bytes:
        """What a length stands before.

        Raises:
            PackingError: there is not as much.
        """
        return self._take(struct.unpack("<I", self._take(4))[0])

    def _take(self, length: int) -> bytes:
        part = self._body[self._at : self._at + length]
        if len(part) != length:
            raise PackingError
        self._at += length
        return part
