"""Which host is next: each in turn, and those that another worker looks after only when it does not."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from detector import pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

# What waits for so long is anybody's. Whoever has looked at a host's last snapshot remembers its model and the windows
# of its rules.
_OTHERS_SECONDS = 1.0


class Turns:
    """Gives each host that waits one snapshot, then each that waits still: none starves, however much another has.

    Workers share hosts without knowing of each other: who was last to detect something of a host goes on with it, and
    what waits longer than that should take is taken by whoever comes first.
    """

    def __init__(self, *, alone: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`alone`: there are no other workers."""
        self._alone = alone
        self._clock = clock
        self._queue: deque[int] = deque()
        self._mine: set[int] = set()
        self._waiting_since: dict[int, float] = {}

    def next(self, engine: Engine) -> int | None:
        """The host whose turn it is; None when there is none to take.

        Raises:
            StoreError: the database is away.
        """
        if not self._queue:
            now = self._clock()
            behind = pipeline.hosts_behind(engine)
            self._waiting_since = {host_id: self._waiting_since.get(host_id, now) for host_id in behind}
            self._queue.extend(
                host_id
                for host_id in behind
                if self._alone or host_id in self._mine or now - self._waiting_since[host_id] >= _OTHERS_SECONDS
            )
        return self._queue.popleft() if self._queue else None

    def took(self, host_id: int, *, found: bool) -> None:
        """Whether there was a snapshot of the host to take: there is none when another worker has it."""
        (self._mine.add if found else self._mine.discard)(host_id)
        if found:
            self._waiting_since.pop(host_id, None)
