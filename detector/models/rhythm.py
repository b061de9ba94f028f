"""The beacon channels: a new endpoint that keeps coming back, or comes back like a clock.

Persistence is log(1 + the number of five-minute bins of about the last day in which a pair was active); regularity the
lack of variation of the intervals between its snapshots. For arrivals at random the coefficient of variation is 1
(Cox and Lewis, "The statistical analysis of series of events", 1966); a program that waits the same time each has one
near 0. Both fade as the endpoint ages: what was always there is no beacon. Constants: docs/models.md, "Beacons".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models import ageing
from detector.models.layout import BIN_SECONDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.features import Arranged, EndpointSubjects
    from detector.models.state import Subjects

_FEWEST_BINS = 3.5  # four, of which the first have faded a little
_FEWEST_INTERVALS = 6
_MEMORY_INTERVALS = 64.0
_LONGEST_RATE = 1 / _MEMORY_INTERVALS
# Intervals are seen in whole snapshots. Of less than three, what is seen is the length of the snapshot.
_FEWEST_SNAPSHOTS = 3.0
# The variance of the difference of two moments that are each known to within a snapshot: twice 1/12.
_QUANTISATION = 1 / 6
_REGULAR_BELOW = 0.5  # half the variation of what arrives at random
_REGULAR_MEMORY_SECONDS = 48 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How m endpoints come back; one element for each."""

    bins: npt.NDArray[np.float64]
    """Five-minute bins with connects in about the last day, a sum that fades with exp(-age / 24 h)."""
    persistence: npt.NDArray[np.float64]
    regularity: npt.NDArray[np.float64]
    interval: npt.NDArray[np.float64]
    """Mean seconds between snapshots with connects, of about the last 64."""
    variation: npt.NDArray[np.float64]
    """Its coefficient of variation."""


def judge(
    subjects: Subjects, arranged: Arranged, numbers: EndpointSubjects, *, now_seconds: float, duration_seconds: float
) -> Rhythm:
    """Looks at when endpoints were active, this snapshot included."""
    pairs = subjects.values[numbers.pair]
    known = subjects.known[numbers.pair]
    silent = now_seconds - pairs["last_seconds"]
    bins = pairs["bins"] * ageing.left(silent) + _new_bin(pairs["last_bin"], now_seconds, known)
    ages = ageing.age(subjects, numbers.pair, now_seconds)
    applies = arranged.outbound & known
    persistence = np.log1p(bins) * ageing.left(ages) * (applies & (bins >= _FEWEST_BINS))
    interval, spread, intervals = _intervals(pairs, silent, known)
    unseen = _QUANTISATION * duration_seconds**2
    variation = np.sqrt(np.maximum(0.0, spread - unseen)) / np.maximum(interval, 1.0)
    enough = (intervals >= _FEWEST_INTERVALS) & (interval >= _FEWEST_SNAPSHOTS * duration_seconds)
    regular = np.maximum(0.0, 1.0 - variation / _REGULAR_BELOW) * np.log1p(np.minimum(intervals, _MEMORY_INTERVALS))
    regularity = regular * ageing.left(ages, _REGULAR_MEMORY_SECONDS) * (applies & enough)
    return Rhythm(bins=bins, persistence=persistence, regularity=regularity, interval=interval, variation=variation)


def learn(subjects: Subjects, numbers: EndpointSubjects, rhythm: Rhythm, *, now_seconds: float) -> None:
    """Keeps when endpoints were active. Before `ageing.learn`, which keeps when they last were."""
    values = subjects.values
    pair = numbers.pair
    pairs = values[pair]
    known = subjects.known[pair]
    interval, spread, intervals = _intervals(pairs, now_seconds - pairs["last_seconds"], known)
    values["bins"][pair] = rhythm.bins
    values["last_bin"][pair] = now_seconds // BIN_SECONDS
    values["interval"][pair] = interval
    values["interval_spread"][pair] = spread
    values["intervals"][pair] = intervals


def _new_bin(
    last_bin: npt.NDArray[np.float64], now_seconds: float, known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    new: npt.NDArray[np.float64] = np.where(known, last_bin < now_seconds // BIN_SECONDS, True).astype(np.float64)
    return new


def _intervals(
    pairs: npt.NDArray[np.void], silent: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean, variance and number of intervals with the one that ends now; running ones, then fading."""
    intervals = pairs["intervals"] + known
    rate = np.maximum(1.0 / np.maximum(intervals, 1.0), _LONGEST_RATE) * known
    step = silent - pairs["interval"]
    interval = pairs["interval"] + rate * step
    spread = (1.0 - rate) * (pairs["interval_spread"] + rate * step**2)
    return interval, spread, intervals
