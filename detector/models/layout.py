"""What is kept of a subject, in memory and in the store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

_NEWNESS = ("surprise", "surprise_seconds", "last_seconds", "flagged")
_VOLUME = ("weight", "mean", "hour_mean", "recent", "recent_seconds", "earlier")
_RHYTHM = ("bins", "last_bin", "interval", "interval_spread", "intervals")
_OUTCOMES = ("failed_recent", "ended_recent", "outcome_seconds")
_TOTALS = ("failed", "ended")
_SPREAD = ("new_minute", "new_hour", "new_day", "spread_seconds")
_EVIDENCE = ("evidence", "evidence_seconds")

_HEAD = (("first_seconds", "<f8"), ("hours", "<i8"), ("last_hour", "<i8"))

FIELDS: Mapping[str, np.dtype[Any]] = {
    **{name: np.dtype(kind) for name, kind in _HEAD},
    **{
        name: np.dtype("<f8")
        for part in (_NEWNESS, _VOLUME, _RHYTHM, _OUTCOMES, _TOTALS, _SPREAD, _EVIDENCE)
        for name in part
    },
}
"""The state of one subject: eight bytes each. What of it a kind of subject has is in `LAYOUT`; the rest is 0."""

LAYOUT: Mapping[str, tuple[str, ...]] = {
    # Each by the file that learns it: novelty and ageing, baseline, rhythm, failures, spread, evidence, actors.
    "pair": (*_NEWNESS, *_VOLUME, *_RHYTHM),
    "destination": (*_NEWNESS, *_OUTCOMES, *_TOTALS, *_SPREAD, *_EVIDENCE),
    "port": (*_OUTCOMES, *_SPREAD),
    "host": (*_VOLUME, *_TOTALS),
    "traffic": _VOLUME,
    "executable": _NEWNESS,
    "user": _NEWNESS,
    "executable_destination": _NEWNESS,
    "user_destination": _NEWNESS,
    "population": ("weight",),
    "habit": ("weight",),
}
"""What is stored of each kind beside its digest, `first_seconds`, `hours` and `last_hour`, in this order. Kinds
that are not named have nothing more."""

BIN_SECONDS = 300.0
"""The length of the periods that a pair's activity is counted by: see `rhythm`."""

BLOCK = 8
"""Up to so many subjects of one kind stand together in the store."""

NEVER = -1
"""The last hour of what was never active: no observed hour has this number."""


_LEAST_MORE, _SHARE_MORE = 1024, 8


@cache
def record(kind: str) -> np.dtype[Any]:
    """A subject of a kind as it stands in a block: its digest, and what is known of it, little-endian."""
    return np.dtype([("subject", "V16"), *_HEAD, *((name, "<f8") for name in LAYOUT.get(kind, ()))])


_ROW = {name: row for row, name in enumerate(FIELDS)}


class Values:
    """The state of n subjects: an array (n,) for each of FIELDS, since mostly few fields of many are looked at."""

    def __init__(self, length: int) -> None:
        """So many that were never met."""
        self.words = np.zeros((len(FIELDS), length), dtype=np.int64)
        """(fields, n) all of it, as it is in memory."""
        self["last_hour"][:] = NEVER

    def __len__(self) -> int:
        return self.words.shape[1]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The field of all of them, to be changed in place."""
        field: npt.NDArray[Any] = self.words[_ROW[name]].view(FIELDS[name])
        return field

    def part(self, first: int, last: int) -> Values:
        """Some of them, to be changed in place."""
        return _of(self.words[:, first:last])

    def chosen(self, which: npt.NDArray[np.bool_]) -> Values:
        """A copy of some of them."""
        return _of(self.words[:, which])

    def longer(self, length: int) -> Values:
        """These, and others that were never met, so that there are at least so many."""
        values = Values(_room(len(self), length))
        values.words[:, : len(self)] = self.words
        return values

    def of(self, numbers: npt.NDArray[np.int64]) -> Chosen:
        """A look at some of them."""
        return Chosen(self, numbers)


def _of(words: npt.NDArray[np.int64]) -> Values:
    values = Values.__new__(Values)
    values.words = words
    return values


def longer(array: npt.NDArray[Any], length: int, rest: float) -> npt.NDArray[Any]:
    """An array of at least so many rows, those that it had first, then `rest`; itself, if it is long enough."""
    if len(array) >= length:
        return array
    made = np.full((_room(len(array), length), *array.shape[1:]), rest, dtype=array.dtype)
    made[: len(array)] = array
    return made


def _room(before: int, length: int) -> int:
    # Some more, so that what comes one by one is not copied each time; not many, since it may take long to be used.
    return max(length, before + max(_LEAST_MORE, before // _SHARE_MORE))


@dataclass(frozen=True, slots=True)
class Chosen:
    """A look at some subjects: what is asked for is copied then."""

    values: Values
    numbers: npt.NDArray[np.int64]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A field, as it is now; of the shape of the numbers."""
        field: npt.NDArray[Any] = self.values[name][self.numbers]
        return field


def later(subjects: npt.NDArray[Any], seconds: float) -> None:
    """Makes records of subjects what they would be had all of it happened so much later."""
    for name in subjects.dtype.names or ():
        if name.endswith("_seconds"):
            subjects[name] += seconds
        elif name == "last_bin":
            subjects[name] += seconds // BIN_SECONDS
