"""Packs the rows of a snapshot into columns, which take far less room than single rows.

A byte for the version, the number of rows (4 bytes), and, compressed by zlib, the columns: a byte for the type of the
values, as `array` and `struct` name it, and these, little-endian. "0" stands for nothing but zeros. Some are written as
differences, which are small: keys, which are sorted, to the one before; what was established to what was attempted; the
sum of handshakes to the longest.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isnan, log10, nan
from operator import add, sub
from typing import TYPE_CHECKING, Any

from detector.domain import CHANNELS
from detector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector.domain import Observation

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
_VERSION = b"\x01"
_NOTHING = b"0"
# Of these the columns are always there, also in what was written before there were others: each of those is named.
_ALWAYS = ("novelty", "volume", "forest")
# The smallest that holds all values of a column is taken.
_WHOLE = "bhiq"
# The length of the rows is told before they are unpacked: what was written by a stranger must not fill the memory.
_MOST_ROWS = 4_000_000
_WIDEST_BYTES = 8
_LEVEL = 6


class PackingError(StoreError):
    """What is stored cannot be unpacked."""

    def __init__(self) -> None:
        super().__init__("what is stored of a snapshot cannot be read: it was not written by detector, or is damaged")


@dataclass(frozen=True, slots=True)
class PackedObservations:
    """What detection says of a snapshot's counts, a value each, in the order of these."""

    surprise: Sequence[float]
    """NaN: the host was being learnt."""
    channel: Sequence[int]
    novelty: Sequence[int]
    """Like `channel` a place in `words`."""
    probabilities: Mapping[str, Sequence[float]]
    """By channel, like the surprise as -log10; NaN: unknown."""
    words: Sequence[str | None]
    explanations: Mapping[int, str]
    """By the number of the row."""
    unusual: frozenset[int] | None
    """The numbers of the rows that are; None: it was not said yet when they were written."""

    def score(self, row: int) -> float | None:
        """See `domain.Observation`."""
        return score_of(self.surprise[row])

    def is_unusual(self, row: int) -> bool | None:
        """See `domain.Observation`."""
        return None if self.unusual is None or isnan(self.surprise[row]) else row in self.unusual

    def row(self, number: int) -> dict[str, Any]:
        """The columns of `tables.observations`, less where they stand."""
        surprise = self.surprise[number]
        return {
            "score": self.score(number),
            "surprise": None if isnan(surprise) else _rounded(surprise),
            "unusual": self.is_unusual(number),
            "channel": self.words[self.channel[number]],
            "novelty": self.words[self.novelty[number]],
            **{f"p_{name}": _probability(self.probabilities[name][number]) for name in CHANNELS},
            "explanation": self.explanations.get(number),
        }


def score_of(surprise: float) -> float | None:
    """The score of a packed surprise; None of NaN."""
    return None if isnan(surprise) else _rounded(1.0 - 10.0**-surprise)


NO_OBSERVATION: Mapping[str, Any] = dict.fromkeys(
    ("score", "surprise", "unusual", "channel", "novelty", *(f"p_{name}" for name in CHANNELS), "explanation")
)
"""`PackedObservations.row` of a count that detection has not seen."""


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
    return _packed(len(order), b"".join(map(_whole, (ordered | differences).values())))


def unpack_counts(content: bytes) -> dict[str, Sequence[int]]:
    """The inverse of `pack_counts`: COUNT_COLUMNS, each with a value a row.

    Raises:
        PackingError: it is not what `pack_counts` makes.
    """
    reader = _Reader(content, len(COUNT_COLUMNS) * _WIDEST_BYTES)
    columns: dict[str, Sequence[int]] = {name: reader.column(_WHOLE) for name in COUNT_COLUMNS}
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
        if code not in _WHOLE or not code:
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


def unpack_said(content: bytes) -> bytes:
    """The words and sentences alone of what `pack_observations` makes; see `words_of`.

    Raises:
        PackingError: it is not what `pack_observations` makes.
    """
    rows_of(content)
    unpacker = zlib.decompressobj()
    try:
        head = unpacker.decompress(content[HEAD_BYTES:], struct.calcsize("<I"))
        length: int = struct.unpack("<I", head)[0]
        return unpacker.decompress(unpacker.unconsumed_tail, length) if length else b""
    except (zlib.error, struct.error):
        raise PackingError from None


@dataclass(frozen=True, slots=True)
class Said:
    """The part of packed observations that is not in columns."""

    words: Sequence[str | None]
    """The channels and novelties, and None, which stands for neither."""
    explanations: Mapping[int, str]
    unusual: frozenset[int] | None
    """Both like those of `PackedObservations`."""


def read_said(said: bytes, rows: int) -> Said:
    """What `unpack_said` gives, of so many rows.

    Raises:
        PackingError: it is not what `pack_observations` makes.
    """
    try:
        words, texts, *more = json.loads(said)
        return Said(
            words=[None if word is None else str(word) for word in words],
            explanations={int(row): str(text) for row, text in texts.items()},
            unusual=frozenset(_of_runs(more[0], rows)) if more else None,
        )
    except (ValueError, TypeError, AttributeError):
        raise PackingError from None


def pack_observations(observed: Sequence[Observation | None]) -> bytes | None:
    """What detection says of counts, in the order of these as they are packed; None when it says nothing of any.

    Scores are kept as what they are made of: seven digits of the surprise, three of each channel's probability.
    """
    if all(each is None or not any(getattr(each, name) is not None for name in NO_OBSERVATION) for each in observed):
        return None
    words: dict[str | None, int] = {None: 0}
    for each in observed:
        for word in () if each is None else (each.channel, each.novelty):
            words.setdefault(word, len(words))
    texts = {row: each.explanation for row, each in enumerate(observed) if each and each.explanation is not None}
    flags = [None if each is None else each.unusual for each in observed]
    known = [] if all(flag is None for flag in flags) else [_runs([row for row, flag in enumerate(flags) if flag])]
    said = json.dumps([list(words), texts, *known]).encode()
    columns = [
        _floats("f", [nan if each is None or each.surprise is None else each.surprise for each in observed]),
        _whole([words[each.channel if each else None] for each in observed]),
        _whole([words[each.novelty if each else None] for each in observed]),
        *(_probabilities(observed, name) for name in _ALWAYS),
    ]
    spoken = [name for name in CHANNELS if name not in _ALWAYS and _said(observed, name)]
    names = json.dumps(spoken).encode()
    columns += [struct.pack("<I", len(names)), names, *(_probabilities(observed, name) for name in spoken)]
    return _packed(len(observed), struct.pack("<I", len(said)) + said + b"".join(columns))


def _said(observed: Sequence[Observation | None], channel: str) -> bool:
    return any(each is not None and getattr(each, f"p_{channel}") is not None for each in observed)


def _probabilities(observed: Sequence[Observation | None], channel: str) -> bytes:
    return _floats("e", [_exponent(getattr(each, f"p_{channel}", None)) for each in observed])


def unpack_observations(content: bytes) -> PackedObservations:
    """The inverse of `pack_observations`.

    Raises:
        PackingError: it is not what `pack_observations` makes.
    """
    # A sentence of a few hundred characters for each row is far more than there is.
    reader = _Reader(content, 1024)
    said = read_said(reader.text(), reader.rows)
    surprise, channel, novelty = reader.column("f"), reader.column(_WHOLE), reader.column(_WHOLE)
    if any(min(places, default=0) < 0 or max(places, default=0) >= len(said.words) for places in (channel, novelty)):
        raise PackingError
    probabilities = dict.fromkeys(CHANNELS, [nan] * reader.rows) | {name: reader.column("e") for name in _ALWAYS}
    if not reader.ended:
        probabilities |= {name: reader.column("e") for name in _channels_of(reader.text())}
    return PackedObservations(
        surprise=surprise,
        channel=channel,
        novelty=novelty,
        probabilities=probabilities,
        words=said.words,
        explanations=said.explanations,
        unusual=said.unusual,
    )


def _channels_of(text: bytes) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError:
        raise PackingError from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PackingError
    return names


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as the first and the last of each run: those of a scan stand together."""
    begins = [number for before, number in pairwise([-2, *numbers]) if number != before + 1]
    ends = [number for number, after in pairwise([*numbers, -2]) if after != number + 1]
    return [list(run) for run in zip(begins, ends, strict=True)]


def _of_runs(runs: Sequence[Sequence[int]], rows: int) -> Iterator[int]:
    at = 0
    for first, last in runs:
        if not at <= first <= last < rows:
            raise PackingError
        at = last + 1
        yield from range(first, at)


def _packed(rows: int, body: bytes) -> bytes:
    return _VERSION + struct.pack("<I", rows) + zlib.compress(body, _LEVEL)


def _whole(values: Sequence[int]) -> bytes:
    largest = max(max(values, default=0), -min(values, default=0))
    if not largest:
        return _NOTHING
    code = next(code for code in _WHOLE if largest < 1 << 8 * array(code).itemsize - 1)
    return code.encode() + _little_endian(array(code, values)).tobytes()


def _floats(code: str, values: Sequence[float]) -> bytes:
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


class _Reader:
    """Reads columns one after another."""

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
        code = self._take(1).decode("latin-1")
        if code == _NOTHING.decode() and codes == _WHOLE:
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
        return self._take(struct.unpack("<I", self._take(4))[0])

    def _take(self, length: int) -> bytes:
        part = self._body[self._at : self._at + length]
        if len(part) != length:
            raise PackingError
        self._at += length
        return part


def _exponent(probability: float | None) -> float:
    return nan if probability is None else -log10(probability)


def _probability(exponent: float) -> float | None:
    return None if isnan(exponent) else float(f"{10.0**-exponent:.3g}")


def _rounded(value: float) -> float:
    # What a float of four bytes holds.
    return float(f"{value:.7g}")
