"""Snapshots that wait for the database: bounded, and what the bound forces out is counted."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from detector.domain import Direction, Losses

if TYPE_CHECKING:
    from detector.domain import Snapshot

# About 100 MB of counts: an hour of a busy host's snapshots.
_MOST_COUNTS = 200_000


class Backlog:
    """Oldest first. When it holds more than `most_counts` counts, the oldest snapshot is given up, and what was in it
    is added to the losses of the one after it: the store then says how much is missing there.
    """

    def __init__(self, most_counts: int = _MOST_COUNTS) -> None:
        self._most_counts = most_counts
        self._waiting: deque[Snapshot] = deque()
        self._counts = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, snapshot: Snapshot) -> None:
        """Puts `snapshot` last."""
        self._waiting.append(snapshot)
        self._counts += len(snapshot.counts)
        # The newest is always kept: there must be one to say what was lost.
        while self._counts > self._most_counts and len(self._waiting) > 1:
            given_up = self._waiting.popleft()
            self._counts -= len(given_up.counts)
            heir = self._waiting[0]
            self._waiting[0] = replace(
                heir,
                start=given_up.start,
                losses=heir.losses + _all_lost(given_up),
                health=given_up.health + heir.health,
            )

    def oldest(self) -> Snapshot | None:
        """The one to be written next; it stays until `written`."""
        return self._waiting[0] if self._waiting else None

    def written(self) -> None:
        """The oldest is in the database: forget it."""
        self._counts -= len(self._waiting.popleft().counts)


def _all_lost(snapshot: Snapshot) -> Losses:
    outbound = [count for count in snapshot.counts if count.key.direction is Direction.OUTBOUND]
    inbound = sum(count.attempted for count in snapshot.counts if count.key.direction is Direction.INBOUND)
    return snapshot.losses + Losses(
        attempted=sum(count.attempted for count in outbound),
        established=sum(count.established for count in outbound),
        refused=sum(count.refused for count in outbound),
        timed_out=sum(count.timed_out for count in outbound),
        failed=sum(count.failed for count in outbound),
        inbound=inbound,
    )
