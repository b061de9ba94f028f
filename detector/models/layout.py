"""What is kept of a subject, in memory and in the store."""

from __future__ import annotations

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

SUBJECT = np.dtype(
    [
        *_HEAD,
        *(
            (name, "<f8")
            for part in (_NEWNESS, _VOLUME, _RHYTHM, _OUTCOMES, _TOTALS, _SPREAD, _EVIDENCE)
            for name in part
        ),
    ]
)
"""The state of one subject. What of it a kind of subject has is in `LAYOUT`; the rest is 0."""

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


@cache
def record(kind: str) -> np.dtype[Any]:
    """A subject of a kind as it stands in a block: its digest, and what is known of it, little-endian."""
    return np.dtype([("subject", "V16"), *_HEAD, *((name, "<f8") for name in LAYOUT.get(kind, ()))])


def unknown(length: int) -> npt.NDArray[Any]:
    """So many subjects that were never met."""
    values = np.zeros(length, dtype=SUBJECT)
    values["last_hour"] = NEVER
    return values


def later(subjects: npt.NDArray[Any], seconds: float) -> None:
    """Makes subjects, of SUBJECT or a record, what they would be had all of it happened so much later."""
    for name in subjects.dtype.names or ():
        if name.endswith("_seconds"):
            subjects[name] += seconds
        elif name == "last_bin":
            subjects[name] += seconds // BIN_SECONDS
