"""Snapshots that wait for the database, in order: on disk, and at most two of them in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import add
from threading import Condition
from typing import TYPE_CHECKING

from detector.collector.frame import DamagedFrameError, all_lost
from detector.collector.given_up import GivenUp
from detector.collector.spool import new_mark, number_of
from detector.errors import SpoolError

if TYPE_CHECKING:
    from detector.collector.spool import Spool
    from detector.domain import Snapshot


@dataclass(frozen=True, slots=True)
class Waiting:
    """The snapshot whose turn it is."""

    mark: bytes
    """By which the database knows it again."""
    snapshot: Snapshot | None
    """With the losses of those before it that were given up; None: it is damaged."""
    damage: str = ""


class Backlog:
    """Oldest first. Two threads share it: one adds, and one stores what is oldest.

    The oldest is never given up: it may be in the database already, only the answer is missing. When there is no room
    (see `Spool.most_bytes`, or a full disk), the one after it is, and what was in it is added to the losses of the
    next: the database then says how much is missing there.
    """

    def __init__(self, spool: Spool) -> None:
        self._changed = Condition()
        self._spool = spool
        self._line = deque(spool.found)
        # Those that are in memory alone.
        self._held: dict[bytes, Snapshot] = {}
        last = max([*map(number_of, self._line), *(each.last for each in spool.records)], default=0)
        self._next = last + 1
        self.given_up = 0
        """Snapshots for which there was no room since the start."""

    def __len__(self) -> int:
        with self._changed:
            return len(self._line)

    @property
    def in_memory(self) -> int:
        """How many of them the death of this process would take along."""
        with self._changed:
            return len(self._held)

    def add(self, snapshot: Snapshot) -> None:
        """Puts `snapshot` last, in memory. What the spool would not take before, and is not the oldest, is given up.

        Raises:
            SpoolError: `snapshot` has its place, but what is left of another one is in memory only.
        """
        with self._changed:
            try:
                for mark in [each for each in self._held if each != self._line[0]]:
                    self._make_room(mark)
            finally:
                mark = new_mark(self._next)
                self._next += 1
                self._line.append(mark)
                self._held[mark] = snapshot
                self._changed.notify_all()

    def keep(self) -> None:
        """Writes to the disk what is in memory, so that it survives this process; makes room for it.

        Raises:
            SpoolError: it is not all on the disk; the rest stays in memory.
        """
        if not self._spool.most_bytes:
            return
        faults: list[SpoolError] = []
        with self._changed:
            for mark, snapshot in list(self._held.items()):
                try:
                    self._keep(mark, snapshot)
                except SpoolError as fault:
                    # The other one may be smaller.
                    faults.append(fault)
        if faults:
            raise faults[0]

    def oldest(self) -> Waiting | None:
        """The one to be stored next; it stays until `stored` or `give_up_oldest`."""
        with self._changed:
            if not self._line:
                return None
            mark = self._line[0]
            snapshot = self._held.get(mark)
            left = self._left_before(mark)
        if snapshot is None:
            # Without the lock: nobody else touches the oldest.
            try:
                snapshot = self._spool.read(mark)
            except (DamagedFrameError, SpoolError) as fault:
                return Waiting(mark, None, str(fault))
        return Waiting(mark, reduce(add, left).told_by(snapshot) if left else snapshot)

    def stored(self, waiting: Waiting) -> None:
        """The oldest is in the database: forget it, and what it told of others.

        Raises:
            SpoolError: its file cannot be removed. At the next start the database will know it.
        """
        with self._changed:
            self._line.popleft()
            try:
                if left := self._left_before(waiting.mark):
                    self._spool.told(left)
                self._forget(waiting.mark)
            finally:
                self._changed.notify_all()

    def give_up_oldest(self, waiting: Waiting) -> None:
        """The oldest is damaged, and not in the database: the next one tells of it.

        Raises:
            SpoolError: what is left of it is in memory only.
        """
        with self._changed:
            self._give_up(waiting.mark)
            self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Whether all is stored, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._line, seconds)

    def wait_for_more(self, seconds: float) -> None:
        """Returns when something is added, or waits already, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._line, seconds)

    def _keep(self, mark: bytes, snapshot: Snapshot) -> None:
        self._spool.write(mark, snapshot)
        del self._held[mark]
        while self._spool.bytes > self._spool.most_bytes and (other := self._second(mark)):
            self._make_room(other)
        if self._spool.bytes > self._spool.most_bytes:
            self._spool.remove(mark)
            self._held[mark] = snapshot
            raise SpoolError("the spool has no room for a single snapshot", hint="raise collector.spool_megabytes")

    def _second(self, but: bytes) -> bytes | None:
        """The oldest on disk that may be given up for `but`."""
        return next((mark for mark in islice(self._line, 1, 3) if mark != but and mark not in self._held), None)

    def _left_before(self, mark: bytes) -> list[GivenUp]:
        """What is left of those that were given up, and is to be told by `mark`, which is the oldest."""
        return [each for each in self._spool.records if each.last < number_of(mark)]

    def _make_room(self, mark: bytes) -> None:
        try:
            self._give_up(mark)
        finally:
            self.given_up += 1

    def _give_up(self, mark: bytes) -> None:
        number = number_of(mark)
        snapshot = self._held.get(mark)
        if snapshot is not None:
            left = GivenUp(
                first=number, last=number, losses=all_lost(snapshot), start=snapshot.start, health=snapshot.health
            )
        else:
            left = self._spool.given_up(mark)
        # All between this one and the one that waits before it.
        place = self._line.index(mark)
        since = number_of(self._line[place - 1]) if place else 0
        before = [each for each in self._spool.records if since < each.first and each.last < number]
        self._line.remove(mark)
        try:
            # First of all: what is counted as lost must not come back.
            self._spool.record(reduce(add, [*before, left]))
        finally:
            self._forget(mark)

    def _forget(self, mark: bytes) -> None:
        if self._held.pop(mark, None) is None:
            self._spool.remove(mark)
