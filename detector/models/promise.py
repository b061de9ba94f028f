"""What is promised of false alerts, and the threshold that follows from it.

A surprise of x is held by a benign hour with a probability of at most 10^-x. So an hour raises a false alert with a
probability of N / 24, which makes N a day, if people are told from a surprise of log10(24 / N) on. Three things move
the threshold from there, all within bounds:

- what the hours of this host really held: the tail of the hourly maxima of the surprise itself;
- what people were really told: `corrected`, after Gibbs and Candès, *Adaptive conformal inference under distribution
  shift* (2021);
- how little is known of this kind of time: `uncertainty`.

Formulas: docs/models.md, "The promise".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.models.calibration import Prior

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_HOURS_A_DAY = 24.0
_LN10 = math.log(10)
THEORY = Prior(threshold=math.log10(4), scale=1 / _LN10)
"""The tail of the hourly maxima of a surprise that is what it says: its upper quartile and its mean excess."""
# Days of one kind of time that a guess about it is worth.
_PRIOR_DAYS = 12.0
# One false alert raises the threshold by this much, and the time in which one was promised takes it back. It takes
# four to make alerts ten times rarer, which is the most: an intruder's alerts cannot hide what is stranger than they.
_STEP = 0.25
_MOVED_AT_MOST = 1.0
# Lower by as much: a promise that is kept by silence alone is worth little. But silence says little before several were
# promised, and a week for which one was promised next to nothing: no faster than a seventh of the way for each.
_LOWERED_AFTER_PROMISED = 7.0


def surprise_at(false_alerts_per_day: float) -> float:
    """The surprise that so many hours a day of a benign host reach, if calibration is right; never negative."""
    return max(0.0, math.log10(_HOURS_A_DAY / false_alerts_per_day))


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """From which surprise on a row is unusual, and what it is made of."""

    promised: float
    """What the promise alone says."""
    observed: float
    """What the hours of this host make of it."""
    correction: float
    """What the alerts that were told add to it, or take away."""
    uncertainty: float
    """What is added since little is known of this kind of time."""
    hours: int
    """Hours that were observed after burn-in."""

    @property
    def usual(self) -> float:
        """The threshold in a kind of time that is well known."""
        # Each by itself, too: on a host whose hours hold little, an alert must raise it all the same.
        return max(0.0, self._bounded(self._bounded(self.observed) + self.correction))

    @property
    def surprise(self) -> float:
        """The threshold in force."""
        return self.usual + self.uncertainty

    @property
    def lowest_correction(self) -> float:
        """What a correction may take away at most: beyond it nothing moves, and the next alert must move something."""
        return self._lowest - self._bounded(self.observed)

    @property
    def _lowest(self) -> float:
        promised_so_far = self.hours * 10**-self.promised
        return self.promised - _MOVED_AT_MOST * min(1.0, promised_so_far / _LOWERED_AFTER_PROMISED)

    def _bounded(self, surprise: float) -> float:
        return min(max(surprise, self._lowest), self.promised + _MOVED_AT_MOST)


def uncertainty(evidence: float, false_alerts_per_day: float) -> float:
    """What a kind of time with so many days of evidence adds to the threshold; it goes to 0 as they become more.

    Of the rate of an exponential tail that is only known as a gamma distribution of mean 1 and shape a, the predictive
    distribution is Lomax's: P(S > x) = (1 + x ln 10 / a)^-a (Gelman et al., *Bayesian Data Analysis*, 2013, 2.6).
    """
    shape = _PRIOR_DAYS * (1.0 + max(0.0, evidence))
    wanted = surprise_at(false_alerts_per_day)
    return shape / _LN10 * (10 ** (wanted / shape) - 1) - wanted


def corrected(
    told: Iterable[datetime], *, since: datetime, until: datetime, false_alerts_per_day: float, lowest: float
) -> float:
    """What false alerts at some moments in [since, until] add to the threshold.

    Args:
        told: when each was opened, in order; those that a person called true are not among them.
        since: what came before is forgotten.
        until: the present.
        false_alerts_per_day: the promise.
        lowest: it takes away no more than that; 0 or less.
    """
    correction, at = 0.0, since
    for moment in (*told, None):
        now = until if moment is None else max(moment, at)
        passed = (now - at).total_seconds() / 86_400
        correction = max(correction - _STEP * false_alerts_per_day * passed, lowest)
        if moment is not None:
            correction = min(correction + _STEP, _MOVED_AT_MOST)
        at = now
    return correction
