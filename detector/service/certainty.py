"""Whether the wall clock can be believed when something is to be deleted for its age: one that is a year ahead for a
minute must not take a year's history with it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.store.engine import reading
from detector.store.tables import hosts, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Engine

# A time service corrects by less.
_STEP = timedelta(hours=1)
# For so long a clock that was set has to go on as time does.
_LONG_ENOUGH = timedelta(days=1)
# Where it has not yet, something must have been taken between so long ago and that.
_BEFORE = timedelta(days=2)
_ASK_AGAIN_SECONDS = 300.0


def _running() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Certainty:
    """Believes a clock that has gone on for a day without being set; or, after a start, one by which something was
    stored of the day before, unless it is set meanwhile.

    Args:
        engine: the store.
        now: the wall clock.
        running: seconds since some moment, by a clock that nobody can set; None: that of the machine.
    """

    def __init__(self, engine: Engine, now: datetime, running: Callable[[], float] | None = None) -> None:
        self._engine, self._running = engine, running or _running
        self._begin(now, was_set=False)

    def _begin(self, now: datetime, *, was_set: bool) -> None:
        """From here on it is looked at."""
        self._wall, self._since, self.was_set = now, self._running(), was_set
        self._asked, self._watched = -_ASK_AGAIN_SECONDS, False

    def holds(self, now: datetime) -> bool:
        """Whether `now`, which the wall clock says, is so.

        Raises:
            StoreError: the database is away.
        """
        passed = timedelta(seconds=self._running() - self._since)
        if abs(now - self._wall - passed) > _STEP:
            self._begin(now, was_set=True)
            return False
        if passed >= _LONG_ENOUGH:
            self.was_set = False
            return True
        if self.was_set:
            return False
        if self._running() - self._asked >= _ASK_AGAIN_SECONDS:
            self._watched = self._was_watched(now - _BEFORE, now - _LONG_ENOUGH)
            self._asked = self._running()
        return self._watched

    def _was_watched(self, start: datetime, end: datetime) -> bool:
        """Whether anything was stored of a time."""
        ended = snapshots.c.end
        with reading(self._engine) as connection:
            # One after another: of each the index knows, and the first one is enough.
            return any(
                connection.scalar(
                    select(snapshots.c.seq).where(snapshots.c.host_id == host_id, ended > start, ended <= end).limit(1)
                )
                for host_id in connection.scalars(select(hosts.c.host_id)).all()
            )
