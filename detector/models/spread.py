"""The fan-out and port sweep channels: many new destinations on one port, many new ports of one destination.

An address and port is new once, so a sum of new ones is an exact count of distinct ones, without a sketch. Each sum
fades with exp(-age / scale), at three time scales: a burst shows in the minute, a slow scan in the day
(docs/models.md, "Fan-out and port sweep").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models.ageing import left

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.features import Arranged, EndpointSubjects
    from detector.models.state import Subjects

SCALES = {"new_minute": 60.0, "new_hour": 3600.0, "new_day": 24 * 3600.0}
"""By column of the state: seconds."""
_NEW_SECONDS = {"new_minute": 3600.0, "new_hour": 3600.0, "new_day": 24 * 3600.0}
_SEVERAL = 1.5  # one new port of a destination is no sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """New endpoints within about a minute, an hour and a day, by the names of SCALES; (m,) each."""

    of_port: dict[str, npt.NDArray[np.float64]]
    """New destinations on the endpoint's port."""
    of_destination: dict[str, npt.NDArray[np.float64]]
    """New ports of the endpoint's destination."""
    concerned: dict[str, npt.NDArray[np.bool_]]
    """Whether the endpoint is one of the new ones."""

    def fan_out(self, scale: str) -> npt.NDArray[np.float64]:
        """log(1 + new destinations), of endpoints that are new themselves; else 0."""
        counted: npt.NDArray[np.float64] = np.log1p(self.of_port[scale]) * self.concerned[scale]
        return counted

    def sweep(self, scale: str) -> npt.NDArray[np.float64]:
        """log(1 + new ports), of endpoints that are new themselves and not alone; else 0."""
        ports = self.of_destination[scale]
        counted: npt.NDArray[np.float64] = np.log1p(ports) * (self.concerned[scale] & (ports > _SEVERAL))
        return counted


def judge(subjects: Subjects, arranged: Arranged, numbers: EndpointSubjects, *, now_seconds: float) -> Spread:
    """Counts what is new, this snapshot included."""
    outbound = arranged.outbound
    new = outbound & ~subjects.known[numbers.pair]
    ages = now_seconds - subjects.values["first_seconds"][numbers.pair]
    return Spread(
        of_port=_sums(subjects, numbers.port, new, now_seconds),
        of_destination=_sums(subjects, numbers.destination, new, now_seconds),
        concerned={scale: new | (outbound & (ages < seconds)) for scale, seconds in _NEW_SECONDS.items()},
    )


def learn(
    subjects: Subjects, arranged: Arranged, numbers: EndpointSubjects, spread: Spread, *, now_seconds: float
) -> None:
    """Keeps the counts."""
    new = arranged.outbound & ~subjects.known[numbers.pair]
    values = subjects.values
    for subject, sums in ((numbers.port, spread.of_port), (numbers.destination, spread.of_destination)):
        for scale, counted in sums.items():
            values[scale][subject[new]] = counted[new]
        values["spread_seconds"][subject[new]] = now_seconds


def _sums(
    subjects: Subjects, numbers: npt.NDArray[np.int64], new: npt.NDArray[np.bool_], now_seconds: float
) -> dict[str, npt.NDArray[np.float64]]:
    values = subjects.values.of(numbers)
    now = np.bincount(numbers, weights=new.astype(np.float64))[numbers]
    ages = now_seconds - values["spread_seconds"]
    return {scale: values[scale] * left(ages, seconds) + now for scale, seconds in SCALES.items()}
