"""Which hours of the week a host was observed in, and how much that says about others.

A kind of time is an hour of the day on weekdays or at weekends, 48 in all (UTC). What happens in one that was never
seen (restarts, weekly jobs, nobody at work) is not known yet, however long the others were.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt

DAYS, HOURS = 7, 24
_WEEKDAYS = 5
_HOUR_SECONDS = 3600.0
# A quarter of an hour of a kind is enough to call it seen.
_SEEN_HOURS = 0.25


def _nothing() -> npt.NDArray[np.float32]:
    return np.zeros((DAYS, HOURS), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Week:
    """Hours observed, by day of the week (0: Monday) and hour of the day: (7, 24)."""

    observed: npt.NDArray[np.float32] = field(default_factory=_nothing)

    @classmethod
    def unpack(cls, content: bytes) -> Week:
        """The inverse of `pack`."""
        return cls(np.frombuffer(content, dtype="<f4").astype(np.float32).reshape(DAYS, HOURS))

    def pack(self) -> bytes:
        """Little-endian float32, Monday's hours first."""
        return self.observed.astype("<f4").tobytes()

    def with_time(self, start: datetime, seconds: float) -> Week:
        """With a snapshot of at most an hour added to the hour that its middle falls into."""
        middle = start + timedelta(seconds=seconds / 2)
        observed = self.observed.copy()
        observed[middle.weekday(), middle.hour] += seconds / _HOUR_SECONDS
        return replace(self, observed=observed)

    def kinds(self) -> npt.NDArray[np.float32]:
        """Hours observed of each kind of time, (2, 24): weekdays and weekends."""
        return np.stack([self.observed[:_WEEKDAYS].sum(axis=0), self.observed[_WEEKDAYS:].sum(axis=0)])

    def evidence(self, moment: datetime) -> float:
        """How many days like this one tell of a moment: those with its own hour, and all the hours of its class."""
        kinds = self.kinds()[int(moment.weekday() >= _WEEKDAYS)]
        return float(kinds[moment.hour] + kinds.sum() / HOURS)

    def missing(self) -> tuple[list[int], list[int]]:
        """The hours of the day that were not seen yet, on weekdays and at weekends."""
        seen = self.kinds() >= _SEEN_HOURS
        weekday, weekend = (np.flatnonzero(~each).tolist() for each in seen)
        return weekday, weekend

    def missing_days(self) -> list[int]:
        """The days of the week, 0 for Monday, of which not every hour was seen yet: jobs may run once a week."""
        days: list[int] = np.flatnonzero(~(self.observed >= _SEEN_HOURS).all(axis=1)).tolist()
        return days
