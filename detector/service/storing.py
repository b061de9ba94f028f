"""Stores snapshots in a thread of its own, so that a database that hangs delays no one who counts."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

from detector.collector.backlog import Backlog
from detector.errors import SpoolError, StoreAwayError, StoreDamagedError, StoreError
from detector.service.memory import give_back
from detector.service.renewal import renew
from detector.store.engine import database_file, open_store, reading, writing
from detector.store.migrating import check_current
from detector.store.snapshots import SnapshotWriter, is_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from detector.collector.backlog import Waiting
    from detector.collector.spool import Spool
    from detector.domain import Snapshot, SnapshotRef

# A database that is well has a snapshot in this time; after it the snapshot is put on disk.
_SOON_SECONDS = 1.0
_RETRY_SECONDS = 2.0
_RENEWED_SECONDS, _HOPELESS_SECONDS = 0.2, 10.0
_STATEMENT_SECONDS = 30
# While many are stored one after another, whoever waits for SQLite's lock has a turn now and then: it looks for it
# every 100 ms only.
_TURN_SECONDS, _PAUSE_SECONDS = 1.0, 0.25
_START_SECONDS = 2.0
_END_SECONDS = 1.0
# How often it is said that nothing has changed.
_SAY_AGAIN_SECONDS = 60.0
_HANGS_SECONDS = 5.0
# Less than that is no waiting.
_WAITED_SECONDS = 1.0


class Reporter(Protocol):
    """Where it is said what becomes of snapshots. Called by two threads."""

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """A snapshot was stored."""

    def fault(self, message: str) -> None:
        """Something is wrong, or right again; storing goes on."""


class Storing:
    """Takes snapshots from the thread that counts (`put`) and stores them in order, each once.

    What the database does not take soon is put on disk, and stored when it does, by the next collector if need be.
    """

    def __init__(self, url: str, host: str, spool: Spool, report: Reporter, *, interval_seconds: float) -> None:
        """`interval_seconds`: how often `put` will be called.

        Raises:
            ConfigError: `url` is no address of a database.
        """
        self._url = url
        self._engine = open_store(url, statement_seconds=_STATEMENT_SECONDS)
        self._host = host
        self._writers: dict[str, SnapshotWriter] = {}
        self._backlog = Backlog(spool)
        self._spools = bool(spool.most_bytes)
        self._report = report
        self._soon_seconds = min(_SOON_SECONDS, interval_seconds / 2)
        self._interval_seconds = interval_seconds
        self._checked = False
        self._fatal: BaseException | None = None
        self._answered = Event()
        """The database has answered, or will not: see `_fatal`."""
        self._hurry = Event()
        """Whoever waits to try again is not to wait any longer, once."""
        self._thread = Thread(target=self._guarded, name="storing", daemon=True)
        # Of the thread that stores: since when the database does not answer, and what was said of it when.
        self._away_since: float | None = None
        self._said, self._said_at = "", 0.0
        self._taken: Waiting | None = None
        self._late = 0
        """How many were stored since it is back."""
        self._began_at: float | None = None
        """When what the database has not answered yet was asked."""
        self._renewed_at = -_SAY_AGAIN_SECONDS
        self._ending = False
        # Of the thread that counts.
        self._spool_fault = ""
        self._given_up_said, self._given_up_at = 0, -_SAY_AGAIN_SECONDS
        self._hangs = False

    @property
    def database_file(self) -> Path | None:
        """See `engine.database_file`."""
        return database_file(self._engine)

    def start(self) -> None:
        """Begins with what waits from earlier collectors. Returns when the database has answered, or soon.

        Raises:
            StoreError: the database is missing, or of another version.
        """
        if waiting := len(self._backlog):
            self._report.fault(
                f"{_snapshots(waiting)} of an earlier collector {_wait(waiting)} in the spool: stored first"
            )
        self._thread.start()
        self._answered.wait(_START_SECONDS)
        self._raise_fatal()

    def put(self, snapshot: Snapshot) -> None:
        """Has `snapshot` stored. Returns soon, when it is stored or waits, on disk if that is possible.

        Raises:
            StoreError: see `start`; the database answered only now.
        """
        try:
            self._backlog.add(snapshot)
        except SpoolError as fault:
            self._say_spool_fault(fault.message)
        # Where it is known to be away, there is nothing to wait for.
        known = self._away_since is not None or self._hangs
        stored = self._backlog.wait_until_empty(0.0 if known else self._soon_seconds)
        if not stored:
            self._keep()
        self._raise_fatal()
        self._say_changes()

    def finish(self) -> None:
        """Gives the database a last second; what it has not taken then waits for the next collector.

        Raises:
            StoreError: something waits in memory alone.
        """
        self._hurry.set()
        stored = self._backlog.wait_until_empty(_END_SECONDS)
        # A thread that speaks while the process ends would end it badly.
        self._ending = True
        if not stored:
            self._keep()
        self._raise_fatal()
        self._say_changes(last=True)
        if lost := self._backlog.in_memory:
            raise StoreError(
                f"{_snapshots(lost)} could not be stored before the end and {'is' if lost == 1 else 'are'} lost",
                hint="look after the database first, and stop collect then",
            )
        if waiting := len(self._backlog):
            self._report.fault(f"{_snapshots(waiting)} {_wait(waiting)} in the spool for the next collector")

    # --- the thread that counts ---------------------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            self._backlog.keep()
        except SpoolError as fault:
            self._say_spool_fault(fault.message)
        else:
            if self._spool_fault:
                self._report.fault("snapshots can wait on disk again")
            self._spool_fault = ""

    def _say_spool_fault(self, message: str) -> None:
        if message != self._spool_fault:
            self._report.fault(
                f"{message}; the newest snapshot waits in memory alone, and is given up and counted as lost when the "
                "next one comes"
            )
        self._spool_fault = message

    def _say_changes(self, *, last: bool = False) -> None:
        now = time.monotonic()
        given_up = self._backlog.given_up
        if given_up > self._given_up_said and (last or now - self._given_up_at >= _SAY_AGAIN_SECONDS):
            new = given_up - self._given_up_said
            self._report.fault(f"no room for {_snapshots(new)} to wait: given up, and counted as lost")
            self._given_up_said, self._given_up_at = given_up, now
        # A database that hangs gives no error, for a long time or ever.
        began = self._began_at
        hangs = began is not None and now - began > max(_HANGS_SECONDS, self._interval_seconds)
        if hangs and not self._hangs:
            self._report.fault(
                f"the database has not answered for {now - (began or now):.0f} s; {self._waiting_text()}"
            )
        elif self._hangs and not hangs:
            self._report.fault("the database answers again")
        self._hangs = hangs

    def _waiting_text(self) -> str:
        waiting = len(self._backlog)
        return f"{_snapshots(waiting)} {_wait(waiting)} {'in the spool' if self._spools else 'in memory'}"

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    # --- the thread that stores ---------------------------------------------------------------------------------------

    def _guarded(self) -> None:
        try:
            while not self._checked:
                self._attempt(self._check)
            self._answered.set()
            while True:
                self._backlog.wait_for_more(_SAY_AGAIN_SECONDS)
                self._attempt(self._store_waiting)
        except BaseException as fault:  # noqa: BLE001  raised in the other thread, which is the one that ends the role
            self._fatal = fault
            self._answered.set()

    def _pause(self, seconds: float) -> None:
        if self._hurry.wait(seconds):
            self._hurry.clear()

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreDamagedError as fault:
            self._forget()
            self._say_away(renew(self._url, fault))
            # Connections to the old file.
            self._engine.dispose()
            # On a disk that damages the new one as well nothing helps soon.
            self._pause(
                _RENEWED_SECONDS if time.monotonic() > self._renewed_at + _SAY_AGAIN_SECONDS else _HOPELESS_SECONDS
            )
            self._renewed_at = time.monotonic()
        except StoreError as fault:
            if not (self._checked or isinstance(fault, StoreAwayError)):
                raise
            self._forget()
            self._say_away(fault.message)
            self._pause(_RETRY_SECONDS)
        except SpoolError as fault:
            self._report.fault(fault.message)
            self._pause(_RETRY_SECONDS)

    def _check(self) -> None:
        self._began_at = time.monotonic()
        check_current(self._engine)
        self._began_at = None
        self._checked = True

    def _store_waiting(self) -> None:
        """Stores what waits, for about a second."""
        until = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < until:
            # Held while it is tried again and again: it is read once.
            self._taken = self._taken or self._backlog.oldest()
            if self._taken is None:
                break
            self._began_at = time.monotonic()
            self._store(self._taken)
            self._began_at = self._taken = None
        else:
            self._pause(_PAUSE_SECONDS)
        if not len(self._backlog):
            self._say_back()
            give_back()

    def _store(self, waiting: Waiting) -> None:
        snapshot = waiting.snapshot
        if snapshot is None:
            self._pass_over(waiting)
            return
        writer = self._writers.setdefault(snapshot.host, SnapshotWriter(snapshot.host))
        waited = (datetime.now(UTC) - snapshot.end).total_seconds()
        with writing(self._engine) as connection:
            ref = writer.write(
                connection, snapshot, mark=waiting.mark, waited_seconds=waited if waited >= _WAITED_SECONDS else 0.0
            )
        if self._away_since is not None:
            self._late += 1
        if not self._ending:
            self._report.snapshot(ref, snapshot)
        self._done(waiting)

    def _pass_over(self, waiting: Waiting) -> None:
        """A file that cannot be read: what was in it is stored already, or lost."""
        with reading(self._engine) as connection:
            known = is_stored(connection, self._host, waiting.mark)
        if known:
            self._done(waiting)
            return
        self._taken = None
        self._backlog.give_up_oldest(waiting)
        self._report.fault(f"a snapshot in the spool cannot be read, and is counted as lost: {waiting.damage}")

    def _done(self, waiting: Waiting) -> None:
        try:
            self._backlog.stored(waiting)
        except SpoolError as fault:
            self._report.fault(f"{fault.message}; what is stored stays there, and is not stored again")

    def _forget(self) -> None:
        # What a transaction had numbered is rolled back with it.
        for writer in self._writers.values():
            writer.forget()
        self._began_at = None

    def _say_away(self, message: str) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since, self._late = now, 0
        if message != self._said or now - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said, self._said_at = message, now
            if not self._ending:
                self._report.fault(f"{message}; {self._waiting_text()}")

    def _say_back(self) -> None:
        if self._away_since is None:
            return
        away = time.monotonic() - self._away_since
        self._away_since, self._said = None, ""
        if not self._ending:
            self._report.fault(f"the database is back after {away:.0f} s: {_snapshots(self._late)} that waited stored")


def _snapshots(number: int) -> str:
    return f"{number:,} snapshot{'' if number == 1 else 's'}"


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"
