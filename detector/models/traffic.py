"""The host volume channel: the host as a whole connects more than it does.

It is compared as an endpoint's count is (see `baseline`), for the snapshot and for the hour, and put down to those
endpoints that made at least a fifth of it (docs/models.md, "Host volume"). Only outbound connects and flows count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models import window

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.baseline import Volumes
    from detector.models.features import Arranged
    from detector.models.state import Subjects

_CREDITED = 0.2
_MEMORY = 200.0  # snapshots with connects
_WINSOR = 1.0
_FULL_SNAPSHOT_SECONDS = 60.0  # as for endpoints: shorter snapshots count for their share


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """All outbound connects of a snapshot against what is usual."""

    connects: float
    hour_connects: float
    """In about the last hour: see `window`."""
    usual: float
    """The mean of log(1 + connects) of a snapshot with connects."""
    hour_usual: float
    excess: npt.NDArray[np.float64]
    """(m,) by how much log(1 + connects) is above the usual, for the endpoints that answer for it; else 0."""
    hour_excess: npt.NDArray[np.float64]


def number(subjects: Subjects) -> int:
    """Numbers what is learnt of the host's volume."""
    return subjects.number("traffic")


def judge(subjects: Subjects, arranged: Arranged, volumes: Volumes, *, now_seconds: float) -> Traffic:
    """Compares the host's count with its past, as things stood before this snapshot."""
    of_host = np.array([number(subjects)])
    past = subjects.values.of(of_host)
    outbound = arranged.outbound
    connects = float(arranged.connects[outbound].sum())
    hour_connects = float(window.count(past, np.array([connects]), now_seconds)[0])
    usual, hour_usual = float(past["mean"][0]), float(past["hour_mean"][0])
    excess, hour_excess = max(0.0, math.log1p(connects) - usual), max(0.0, math.log1p(hour_connects) - hour_usual)
    return Traffic(
        connects=connects,
        hour_connects=hour_connects,
        usual=usual,
        hour_usual=hour_usual,
        excess=np.where(outbound & (arranged.connects >= _CREDITED * connects), excess, 0.0),
        hour_excess=np.where(
            outbound & volumes.answering & (volumes.hour_connects >= _CREDITED * hour_connects), hour_excess, 0.0
        ),
    )


def learn(
    subjects: Subjects, traffic: Traffic, *, suspicious: bool, now_seconds: float, duration_seconds: float
) -> None:
    """Moves the means towards this snapshot, unless something in it is suspicious for its volume."""
    if not traffic.connects:
        return
    values = subjects.values
    where = number(subjects)
    window.add(values, np.array([where]), np.array([traffic.connects]), now_seconds)
    share = min(1.0, duration_seconds / _FULL_SNAPSHOT_SECONDS)
    if suspicious or not share:
        return
    weight = float(values["weight"][where]) + share
    rate = min(1.0, share / min(weight + share, _MEMORY))
    values["weight"][where] = weight
    for name, count in (("mean", traffic.connects), ("hour_mean", traffic.hour_connects)):
        mean = float(values[name][where])
        values[name][where] = mean + rate * min(math.log1p(count) - mean, _WINSOR)
