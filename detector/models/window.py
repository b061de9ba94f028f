"""A count over about the last hour, from two numbers.

What came in this observed hour, and of what came in the one before the part that is less than an hour ago, as if it had
come evenly: the sliding window counter of rate limiters. Unlike a fading sum it forgets a burst altogether: two hours
after it nothing is left that ordinary connects would be blamed for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.layout import Chosen, Values

HOUR_SECONDS = 3600.0
_CREDITED = 0.2


def count(values: Chosen, now: npt.NDArray[np.float64], now_seconds: float) -> npt.NDArray[np.float64]:
    """Counts of the last hour, what comes now included; elementwise.

    Args:
        values: subjects with `recent`, `earlier` and `recent_seconds`.
        now: what comes now.
        now_seconds: observed time.
    """
    recent, earlier = _shifted(values, now_seconds)
    part = now_seconds % HOUR_SECONDS / HOUR_SECONDS
    total: npt.NDArray[np.float64] = recent + now + earlier * (1.0 - part)
    return total


def answers(
    now: npt.NDArray[np.float64], last_hour: npt.NDArray[np.float64], duration_seconds: float
) -> npt.NDArray[np.bool_]:
    """Whether what came now is at least a fifth of what comes on average in so long a time of the last hour.

    What is less does not answer for the hour: ordinary connects after a burst are not blamed for it.
    """
    enough: npt.NDArray[np.bool_] = now >= _CREDITED * last_hour * duration_seconds / HOUR_SECONDS
    return enough


def add(values: Values, numbers: npt.NDArray[np.int64], now: npt.NDArray[np.float64], now_seconds: float) -> None:
    """Keeps what came now (m,) for subjects, each of which is named once."""
    recent, earlier = _shifted(values.of(numbers), now_seconds)
    values["recent"][numbers] = recent + now
    values["earlier"][numbers] = earlier
    values["recent_seconds"][numbers] = now_seconds


def _shifted(values: Chosen, now_seconds: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What came in the observed hour that holds `now_seconds`, and in the one before."""
    hours = now_seconds // HOUR_SECONDS - values["recent_seconds"] // HOUR_SECONDS
    recent = np.where(hours == 0, values["recent"], 0.0)
    earlier = np.where(hours == 0, values["earlier"], np.where(hours == 1, values["recent"], 0.0))
    return recent, earlier
