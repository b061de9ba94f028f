"""Looks after the database while detection works: adds snapshots up, deletes what has expired, keeps the size. Tells
what was held back of a day, once that is over.

In a thread of its own, in short transactions with pauses between them, so that neither the collector nor detection has
to wait for it; and however far detection lags behind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from detector.errors import StoreError
from detector.service.certainty import Certainty
from detector.service.holding_back import tell_held_back
from detector.service.verifying import Verifying
from detector.store import old_parts, partitions, rollups
from detector.store.engine import reading
from detector.store.retention import Done, Kept, Retention
from detector.store.shrinking import Shrinking
from detector.store.turns import hosts_with_cursor, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from sqlalchemy import Engine

    from detector.config import Settings

# How often it is looked whether the database has become too large, and whether an hour is over.
_ROUND_SECONDS = 5.0
_AWAY_SECONDS = 5.0
_BY_AGE = timedelta(minutes=5)
_PARTS = timedelta(hours=1)
_THOROUGHLY = timedelta(days=1)
_HELD = timedelta(minutes=5)
_VERIFIED = timedelta(minutes=1)
# After a start there is enough to do; and who starts it again and again has it done all the same.
_FIRST_THOROUGHLY = timedelta(minutes=10)
# After each step others have as long as it took: whoever waits for SQLite's lock looks for it every 100 ms only.
_LONGEST_PAUSE_SECONDS = 1.0
# What makes the database larger does not wait.
_HASTE = 0.25
_SAY_AGAIN = timedelta(hours=1)


class Reporter(Protocol):
    """Where it is said what was done."""

    def kept(self, message: str) -> None:
        """Something was deleted that is worth a line."""

    def fault(self, message: str) -> None:
        """Something is wrong, or right again; it goes on."""


def kept_from(settings: Settings, engine: Engine) -> Kept:
    """How long things are kept, as configured for this kind of database."""
    wanted = settings.retention
    on_postgres = engine.dialect.name == "postgresql"
    return Kept(
        snapshots=timedelta(days=wanted.snapshot_days),
        hours=timedelta(days=wanted.hourly_days),
        days=timedelta(days=wanted.daily_days),
        alerts=timedelta(days=wanted.alert_days),
        most_bytes=(wanted.postgres_megabytes if on_postgres else wanted.sqlite_megabytes) * 1_000_000,
        leaves_gaps=on_postgres,
    )


@dataclass(slots=True)
class _Due:
    """When something is to be done again."""

    every: timedelta
    at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether it is time; if so, the next time is a while away."""
        # A clock that was set back must not put it off for long.
        if self.at - self.every <= now < self.at:
            return False
        self.at = now + self.every
        return True


class Keeping:
    """Does all of it, round by round, until it is to stop."""

    def __init__(
        self,
        engine: Engine,
        kept: Kept,
        stop: Event,
        report: Reporter,
        *,
        now: datetime | None = None,
        running: Callable[[], float] | None = None,
    ) -> None:
        """`now`: the wall clock, `running`: seconds by a clock that nobody can set; None: those of the machine."""
        self._engine, self._stop, self._report = engine, stop, report
        self._retention = Retention(engine, kept)
        self._shrinking = Shrinking(self._retention)
        self._verifying = Verifying(engine)
        now = now or datetime.now(UTC)
        self._certainty = Certainty(engine, now, running)
        self._by_age, self._parts = _Due(_BY_AGE, now), _Due(_PARTS, now)
        self._thoroughly = _Due(_THOROUGHLY, now + _FIRST_THOROUGHLY)
        self._held = _Due(_HELD, now)
        self._verified = _Due(_VERIFIED, now + _VERIFIED)
        self._said: dict[str, datetime] = {}
        self._shrinks = False

    def run(self) -> None:
        """Returns when it is to stop."""
        while not self._stop.wait(_ROUND_SECONDS):
            try:
                self.round(datetime.now(UTC))
            except StoreError as fault:
                self._say(self._report.fault, f"{fault.message}; the database is looked after later")
                self._stop.wait(_AWAY_SECONDS)

    def round(self, now: datetime) -> None:
        """One round; ends soon when it is to stop.

        Raises:
            StoreError: the database is away.
        """
        with turn(self._engine) as ours:
            if not ours:
                return
            if self._retention.parted and self._parts.is_due(now):
                self._take(self._add_parts(now))
            self._take(self._roll_up(now))
            self._keep_size(now)
            done = Done()
            if self._is_certain(now):
                if self._by_age.is_due(now):
                    self._take(self._retention.by_age(now, done))
                if self._thoroughly.is_due(now):
                    self._take(self._retention.thoroughly(now, done))
            if self._held.is_due(now):
                tell_held_back(self._engine, now)
            if self._verified.is_due(now):
                self._take(self._verifying.some(now))
            if done.amount:
                self._take(self._shrinking.compact())
            self._tell(done)

    def _is_certain(self, now: datetime) -> bool:
        """Whether something may be deleted for its age by this clock."""
        was_set = self._certainty.was_set
        certain = self._certainty.holds(now)
        if self._certainty.was_set and not was_set:
            self._report.fault("the clock was set: nothing is deleted for its age before it has been right for a day")
        return certain

    def _take(self, steps: Iterator[None], pause: float = 1.0) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                next(steps)
            except StopIteration:
                return
            took = time.monotonic() - began
            self._stop.wait(min(took * pause, _LONGEST_PAUSE_SECONDS))

    def _roll_up(self, now: datetime) -> Iterator[None]:
        for host_id in hosts_with_cursor(self._engine):
            while rollups.advance(self._engine, host_id, now=now).more:
                yield
                # Whatever comes meanwhile, the size is looked at in time.
                self._keep_size(now)
            yield

    def _keep_size(self, now: datetime) -> None:
        if not self._shrinking.has_to:
            return
        if not self._shrinks:
            size = self._retention.kept.most_bytes // 1_000_000
            self._say(
                self._report.kept,
                f"the database is nearly as large as it may be ({size:,} MB): the oldest goes, though it is not old "
                "enough yet",
            )
        done = Done()
        self._shrinks = True
        self._take(self._shrinking.shrink(now, done), _HASTE)
        self._shrinks = self._shrinking.has_to
        self._tell(done)

    def _add_parts(self, now: datetime) -> Iterator[None]:
        with reading(self._engine) as connection:
            wanted = partitions.missing(connection, now)
        for parted, part in wanted:
            if waits := old_parts.create(self._engine, parted.name, part):
                self._say(self._report.fault, f"{waits}; a part of the table {parted.name} is added later")
            yield

    def _tell(self, done: Done) -> None:
        for name in done.parts:
            self._report.kept(f"{name} has expired: dropped")
        for host, number in done.unseen.items():
            unseen = f"{number:,} snapshot{'' if number == 1 else 's'} of {host} that detection had not seen"
            self._report.fault(f"{unseen} had to go for the size of the database, and count as lost")
        if done.waits:
            self._say(self._report.fault, f"{done.waits}; what has expired is dropped later")
        if done.full:
            self._say(
                self._report.fault,
                "the database is larger than it may be, and there is nothing left to delete; see: detector db status",
            )

    def _say(self, how: Callable[[str], None], message: str) -> None:
        """At most once an hour."""
        now = datetime.now(UTC)
        last = self._said.get(message)
        if last is None or not timedelta(0) <= now - last < _SAY_AGAIN:
            self._said = {each: at for each, at in self._said.items() if now - at < _SAY_AGAIN} | {message: now}
            how(message)
