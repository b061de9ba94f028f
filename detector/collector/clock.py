"""Start and end of snapshots, and what the clocks say happened in between."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# More than this between two readings of the wall clock, beyond the time that really passed, is a clock that was set.
_CLOCK_STEP = timedelta(seconds=1)
_SUSPENDED_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine's clocks at one moment; `passed` and `running` in seconds since some fixed one."""

    wall: datetime
    passed: float
    """Goes on while the machine is suspended (CLOCK_BOOTTIME)."""
    running: float
    """Stands still then (CLOCK_MONOTONIC)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `start` to `end` on the wall clock; its length is the time that really passed."""

    start: datetime
    end: datetime
    stepped_seconds: float
    """How far the wall clock was set meanwhile: forward positive, back negative, 0 if it was not."""
    suspended_seconds: float


def read_clocks() -> Reading:
    """The clocks now."""
    return Reading(datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())


class Clock:
    """Consecutive spans: they join without gap, unless somebody sets the wall clock."""

    def __init__(self, read: Callable[[], Reading] = read_clocks) -> None:
        self._read = read
        self._last = read()

    def span(self) -> Span:
        """From the last call to now."""
        last, now = self._last, self._read()
        self._last = now
        passed = max(timedelta(seconds=now.passed - last.passed), timedelta(microseconds=1))
        suspended = (now.passed - last.passed) - (now.running - last.running)
        step = now.wall - last.wall - passed
        stepped = abs(step) > _CLOCK_STEP
        return Span(
            start=now.wall - passed if stepped or now.wall <= last.wall else last.wall,
            end=now.wall,
            stepped_seconds=step.total_seconds() if stepped else 0.0,
            suspended_seconds=suspended if suspended > _SUSPENDED_SECONDS else 0.0,
        )
