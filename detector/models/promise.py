"""What is promised of false alerts, and the threshold that follows from it.

A surprise of x is held by a benign hour with a probability of at most 10^-x. So an hour raises a false alert with a
probability of N / 24, which makes N a day, if people are told from a surprise of log10(24 / N) on.
"""

from __future__ import annotations

import math

_HOURS_A_DAY = 24.0


def surprise_at(false_alerts_per_day: float) -> float:
    """The surprise that so many hours a day of a benign host reach, if calibration is right; never negative."""
    return max(0.0, math.log10(_HOURS_A_DAY / false_alerts_per_day))
