"""Packs what detection says of a snapshot's counts: words and sentences once each, and a column for each number.

As `packing` has it; before the columns stand a length (4 bytes) and, as JSON, the words, the sentences by row, and the
runs of unusual rows.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from math import isnan, log10, nan
from typing import TYPE_CHECKING, Any

from detector.domain import CHANNELS
from detector.store.packing import HEAD_BYTES, WHOLE, PackingError, Reader, floats, packed, rows_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector.domain import Observation

# Of these the columns are always there, also in what was written before there were others: each of those is named.
_ALWAYS = ("novelty", "volume", "forest")


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
        floats("f", [nan if each is None or each.surprise is None else each.surprise for each in observed]),
        whole([words[each.channel if each else None] for each in observed]),
        whole([words[each.novelty if each else None] for each in observed]),
        *(_probabilities(observed, name) for name in _ALWAYS),
    ]
    spoken = [name for name in CHANNELS if name not in _ALWAYS and _said(observed, name)]
    names = json.dumps(spoken).encode()
    columns += [struct.pack("<I", len(names)), names, *(_probabilities(observed, name) for name in spoken)]
    return packed(len(observed), struct.pack("<I", len(said)) + said + b"".join(columns))


def _said(observed: Sequence[Observation | None], channel: str) -> bool:
    return any(each is not None and getattr(each, f"p_{channel}") is not None for each in observed)


def _probabilities(observed: Sequence[Observation | None], channel: str) -> bytes:
    return floats("e", [_exponent(getattr(each, f"p_{channel}", None)) for each in observed])


def unpack_observations(content: bytes) -> PackedObservations:
    """The inverse of `pack_observations`.

    Raises:
        PackingError: it is not what `pack_observations` makes.
    """
    # A sentence of a few hundred characters for each row is far more than there is.
    reader = Reader(content, 1024)
    said = read_said(reader.text(), reader.rows)
    surprise, channel, novelty = reader.column("f"), reader.column(WHOLE), reader.column(WHOLE)
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


def _exponent(probability: float | None) -> float:
    return nan if probability is None else -log10(probability)


def _probability(exponent: float) -> float | None:
    return None if isnan(exponent) else float(f"{10.0**-exponent:.3g}")


def _rounded(value: float) -> float:
    # What a float of four bytes holds.
    return float(f"{value:.7g}")
