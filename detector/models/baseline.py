"""The volume channel's baseline: how many connects an endpoint usually makes in a snapshot and in an hour.

An endpoint's usual count is an exponentially weighted mean of log(1 + count) over the snapshots in which it was
active, shrunk towards the host's mean while it is young; the excess over it has no upper bound, so that 20,000 is
stranger than 200 whatever was seen before. Formulas and constants: docs/models.md, "Volume".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.models import window

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.features import Arranged, EndpointSubjects
    from detector.models.state import Subjects

_RATE = 0.1
_RUNNING_MEAN = 10.0  # snapshots for which the mean is the plain one
_SHRINKAGE = 3.0  # weight of the host's mean, in snapshots
_SNAPSHOT_WINSOR = 1.0  # the most that one snapshot moves a mean by, before the rate: an attack is learnt slowly
_HOUR_WINSOR = 0.5
_HOST_MEMORY = 300.0
_HOST_START = 5.0
_UNSEEN = math.log(2)  # one connect
_YOUNG_WEIGHT = 5.0
_ESTABLISHED_HOURS = 3
_ESTABLISHED_SECONDS = 2 * 3600.0
# The README's rates are for snapshots of 60 s and 300 s. Shorter ones count for their share of a minute: else a burst
# that goes on would become usual six times as fast at 10 s.
_FULL_SNAPSHOT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """Counts against what is usual, for m endpoints; one element for each."""

    connects: npt.NDArray[np.float64]
    """In this snapshot."""
    hour_connects: npt.NDArray[np.float64]
    """In about the last hour: see `window`."""
    usual: npt.NDArray[np.float64]
    """The mean of log(1 + connects) expected of a snapshot."""
    hour_usual: npt.NDArray[np.float64]
    """The same of an hour."""
    young: npt.NDArray[np.bool_]
    """Too little is known of its snapshots: it is compared with the host's endpoints at large."""
    hour_young: npt.NDArray[np.bool_]
    """The same of its hours."""
    answering: npt.NDArray[np.bool_]
    """Whether this snapshot answers for the hour: see `window.answers`."""

    @property
    def excess(self) -> npt.NDArray[np.float64]:
        """By how much log(1 + connects) is above the usual; 0 when it is not."""
        return np.maximum(0.0, np.log1p(self.connects) - self.usual)

    @property
    def hour_excess(self) -> npt.NDArray[np.float64]:
        """The same of the hour, where this snapshot answers for it."""
        return np.maximum(0.0, np.log1p(self.hour_connects) - self.hour_usual) * self.answering


def number_host(subjects: Subjects, *, outbound: bool) -> int:
    """Numbers the host's own means in one direction."""
    return subjects.number("host", outbound)


def judge(
    subjects: Subjects,
    arranged: Arranged,
    numbers: EndpointSubjects,
    hosts: npt.NDArray[np.int64],
    *,
    now_seconds: float,
    duration_seconds: float,
) -> Volumes:
    """Compares each endpoint's count with its past, as things stood before this snapshot."""
    pairs = subjects.values[numbers.pair]
    host_known = subjects.known[hosts]
    host_mean = np.where(host_known, subjects.values["mean"][hosts], _UNSEEN)
    host_hour_mean = np.where(host_known, subjects.values["hour_mean"][hosts], _UNSEEN)
    age = now_seconds - pairs["first_seconds"]
    known_hour = (pairs["hours"] >= _ESTABLISHED_HOURS) & (age > _ESTABLISHED_SECONDS)
    hour_connects = window.count(pairs, arranged.connects, now_seconds)
    return Volumes(
        connects=arranged.connects,
        hour_connects=hour_connects,
        answering=window.answers(arranged.connects, hour_connects, duration_seconds),
        usual=_shrunk(pairs["mean"], pairs["weight"], host_mean),
        hour_usual=_shrunk(pairs["hour_mean"], pairs["hours"], host_hour_mean),
        young=pairs["weight"] < _YOUNG_WEIGHT,
        hour_young=~known_hour,
    )


def learn(
    subjects: Subjects,
    numbers: EndpointSubjects,
    hosts: npt.NDArray[np.int64],
    volumes: Volumes,
    suspicious: npt.NDArray[np.bool_],
    *,
    now_seconds: float,
    duration_seconds: float,
) -> None:
    """Moves the means of the endpoints that connected, and the host's, towards this snapshot.

    What is suspicious (m,) is counted for its hour and moves no mean.
    """
    share = min(1.0, duration_seconds / _FULL_SNAPSHOT_SECONDS)
    active = volumes.connects > 0
    window.add(subjects.values, numbers.pair[active], volumes.connects[active], now_seconds)
    active &= ~suspicious
    if not active.any() or not share:
        return
    pair, host = numbers.pair[active], hosts[active]
    values = subjects.values
    level, hour_level = np.log1p(volumes.connects[active]), np.log1p(volumes.hour_connects[active])
    _start_hosts(subjects, host)

    new = values["weight"][pair] == 0
    mean = np.where(new, values["mean"][host], values["mean"][pair])
    hour_mean = np.where(new, values["hour_mean"][host], values["hour_mean"][pair])
    weight = values["weight"][pair] + share
    rate = np.maximum(np.where(weight < _RUNNING_MEAN, share / weight, 0.0), _RATE * share)
    values["weight"][pair] = weight
    values["mean"][pair] = mean + rate * np.minimum(level - mean, _SNAPSHOT_WINSOR)
    values["hour_mean"][pair] = hour_mean + _RATE * share * np.minimum(hour_level - hour_mean, _HOUR_WINSOR)
    for number in np.unique(host).tolist():
        of_host = host == number
        _learn_host(values, number, level[of_host], hour_level[of_host], share)


def _shrunk(
    mean: npt.NDArray[np.float64], weight: npt.NDArray[Any], host_mean: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    shrunk: npt.NDArray[np.float64] = (_SHRINKAGE * host_mean + weight * mean) / (_SHRINKAGE + weight)
    return shrunk


def _start_hosts(subjects: Subjects, host: npt.NDArray[np.int64]) -> None:
    for number in np.unique(host).tolist():
        if subjects.values["weight"][number] == 0:
            subjects.values["mean"][number] = _UNSEEN
            subjects.values["hour_mean"][number] = _UNSEEN


def _learn_host(
    values: npt.NDArray[Any],
    number: int,
    levels: npt.NDArray[np.float64],
    hour_levels: npt.NDArray[np.float64],
    share: float,
) -> None:
    # One step for all endpoints, so that their order does not matter.
    weight = float(values["weight"][number]) + share * len(levels)
    rate = min(1.0, share * len(levels) / min(weight + _HOST_START, _HOST_MEMORY))
    values["weight"][number] = weight
    for name, reached, winsor in (("mean", levels, _SNAPSHOT_WINSOR), ("hour_mean", hour_levels, _HOUR_WINSOR)):
        steps = np.minimum(reached - values[name][number], winsor).tolist()
        values[name][number] += rate * math.fsum(steps) / len(steps)
