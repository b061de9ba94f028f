"""Puts what a log tells out of order into the order of time, in bounded memory.

Zeek writes a connection when it ends, under the time when it began: a session of a day is a day late. So nothing is
given out before it must be: when there is no room for more, the oldest goes, and only what comes for it afterwards is
late.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

LONGEST_SILENCE = timedelta(days=1)
"""In a longer one nobody watched, as far as a log tells: it is a gap, and not a time in which nothing happened."""

Place = TypeVar("Place", int, tuple[datetime, datetime, str])
Kept = TypeVar("Kept", bound="Sized")


class Waiting(Generic[Place, Kept]):
    """What waits to be given out, by its place in time."""

    def __init__(self, new: Callable[[], Kept], room: int) -> None:
        """`new` makes what is kept at a place; `room` is how many things may wait, places included."""
        self._new, self._room = new, room
        self._kept: dict[Place, Kept] = {}
        self._order: list[Place] = []
        self._things = 0

    def __len__(self) -> int:
        return len(self._kept)

    def at(self, place: Place) -> Kept:
        """What is kept at `place`."""
        kept = self._kept.get(place)
        if kept is None:
            kept = self._kept[place] = self._new()
            heappush(self._order, place)
            self._things += 1
        return kept

    def added(self) -> None:
        """Says that what is kept somewhere grew by one thing."""
        self._things += 1

    @property
    def full(self) -> bool:
        """Whether there is no room, not even when all but one place are given out: for that one the caller decides."""
        return self._things >= self._room and len(self._kept) == 1

    def ripe(self) -> Iterator[tuple[Place, Kept]]:
        """The oldest that have to go; the last place stays."""
        while self._things >= self._room and len(self._kept) > 1:
            yield self._pop()

    def rest(self) -> Iterator[tuple[Place, Kept]]:
        """All that waits, the oldest first."""
        while self._kept:
            yield self._pop()

    def _pop(self) -> tuple[Place, Kept]:
        place = heappop(self._order)
        kept = self._kept.pop(place)
        self._things -= 1 + len(kept)
        return place, kept
