"""The evidence channel: what is a little strange again and again.

Each destination has a sum of what its rows had in surprise beyond half a decade, fading with exp(-age / 1 h): a
one-sided cumulative sum (Page, "Continuous inspection schemes", 1954) that forgets (docs/models.md, "Evidence").
It speaks against the rows that add to it: ordinary connects to the same destination are not blamed for what was there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.models.ageing import left
from detector.models.window import HOUR_SECONDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.features import Arranged, EndpointSubjects
    from detector.models.state import Subjects

_REFERENCE, _MOST = 0.5, 1.5
_FULL_SNAPSHOT_SECONDS = 60.0  # shorter snapshots count for their share, or ten seconds would add up six times as fast


def judge(
    subjects: Subjects,
    arranged: Arranged,
    numbers: EndpointSubjects,
    surprise: npt.NDArray[np.float64],
    *,
    now_seconds: float,
    duration_seconds: float,
) -> npt.NDArray[np.float64]:
    """The evidence against each endpoint's destination, this snapshot included; (m,), 0 where it adds nothing to it.

    Args:
        subjects: the loaded state.
        arranged: the snapshot.
        numbers: its subjects.
        surprise: (m,) the largest surprise of the channels that add up.
        now_seconds: observed time at the snapshot's start.
        duration_seconds: its length.
    """
    share = min(1.0, duration_seconds / _FULL_SNAPSHOT_SECONDS)
    added = np.clip(surprise - _REFERENCE, 0.0, _MOST) * share
    largest = np.zeros(len(subjects.values))
    np.maximum.at(largest, numbers.destination, added)
    past = subjects.values.of(numbers.destination)
    fading = left(now_seconds - past["evidence_seconds"], HOUR_SECONDS)
    sums: npt.NDArray[np.float64] = past["evidence"] * fading + largest[numbers.destination]
    evidence: npt.NDArray[np.float64] = sums * (arranged.outbound & (added > 0))
    return evidence


def learn(
    subjects: Subjects,
    arranged: Arranged,
    numbers: EndpointSubjects,
    evidence: npt.NDArray[np.float64],
    *,
    now_seconds: float,
) -> None:
    """Keeps the sums."""
    there = arranged.outbound & (evidence > 0)
    subjects.values["evidence"][numbers.destination[there]] = evidence[there]
    subjects.values["evidence_seconds"][numbers.destination[there]] = now_seconds
