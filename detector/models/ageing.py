"""How what was new becomes usual: within about a day, and not while it is suspicious.

A surprise fades with exp(-age / 24 h) (docs/models.md, "Novelty"). What is suspicious ages 28 times slower, a day in
four weeks: an attack must not become usual because it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.state import Subjects

DAY_SECONDS = 24 * 3600.0
_HELD_BACK = 27 / 28  # the share of suspicious time that is no ageing


def age(subjects: Subjects, numbers: npt.NDArray[np.int64], now_seconds: float) -> npt.NDArray[np.float64]:
    """Seconds for which subjects have aged since they were new, elementwise: observed time less what was held back."""
    values = subjects.values.of(numbers)
    held = values["flagged"] * (now_seconds - values["last_seconds"]) * _HELD_BACK
    aged: npt.NDArray[np.float64] = now_seconds - values["surprise_seconds"] - held
    return aged


def left(age_seconds: npt.NDArray[np.float64], memory_seconds: float = DAY_SECONDS) -> npt.NDArray[np.float64]:
    """What is left of something after a time: exp(-age / memory), elementwise."""
    share: npt.NDArray[np.float64] = np.exp(-age_seconds / memory_seconds)
    return share


def flagged(subjects: Subjects, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each subject was suspicious when it was last active."""
    marked: npt.NDArray[np.bool_] = subjects.values["flagged"][numbers] > 0
    return marked


def learn(
    subjects: Subjects, numbers: npt.NDArray[np.int64], suspicious: npt.NDArray[np.bool_], now_seconds: float
) -> None:
    """Notes that subjects (n,) were active, and which of them suspiciously; one that is named twice was if either."""
    values = subjects.values
    active, flagged = np.zeros(len(values), dtype=bool), np.zeros(len(values), dtype=bool)
    active[numbers] = True
    flagged[numbers[suspicious]] = True
    once = np.flatnonzero(active)
    marked = flagged[once].astype(np.float64)
    silent = now_seconds - values["last_seconds"][once]
    known = values["first_seconds"][once] < now_seconds
    values["surprise_seconds"][once] += np.where(known, silent * marked * _HELD_BACK, 0.0)
    values["flagged"][once] = marked
    values["last_seconds"][once] = now_seconds
