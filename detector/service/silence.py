"""Notices hosts of which nothing comes any more, by when their snapshots come: no clock but this process' own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.store import silence
from detector.store.engine import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

# Two snapshots are missing, and this is noticed before the third.
_INTERVALS = 2.5
# The shortest that can be configured.
_SHORTEST_SECONDS = 1.0
# Of a host that has never sent anything since this process began, what is older is no news.
_NEWS = timedelta(days=1)
# How often it is looked whether time alone decides something.
_SETTLE_SECONDS = 1.0
_RESOLVE_SECONDS = 60.0


@dataclass(slots=True)
class _Host:
    seq: int
    since: float
    """When this snapshot was first seen to be its last."""
    usual_seconds: float = _SHORTEST_SECONDS
    alive: bool = False
    """It has sent something since this process began."""
    silent: bool = False
    """Whatever there is to say of it was said."""
    long_silent: bool = False
    """And was said again, after `silence.LONG_SECONDS`."""
    awaited: bool = True
    """Something should come of it."""
    settled: float = 0.0
    """When it was last given out by `unsettled`."""


class SilenceWatch:
    """Remembers when something of each host was detected last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[int, _Host] = {}
        self._settled = 0.0

    def forget(self) -> None:
        """Begins anew: while the database was away nothing could come."""
        self._hosts.clear()

    def silent(self, engine: Engine) -> Iterator[tuple[int, float]]:
        """The hosts to be said of that nothing comes of them, each with the seconds since something did.

        Raises:
            StoreError: the database is away.
        """
        now = self._clock()
        with reading(engine) as connection:
            seen = silence.seen(connection)
        self._hosts = {host_id: self._at(host_id, seq, now) for host_id, seq in seen.items()}
        for host_id, host in self._hosts.items():
            if not host.silent and now - host.since >= _INTERVALS * host.usual_seconds:
                with reading(engine) as connection:
                    last = silence.newest(connection, host_id)
                if last is None:
                    continue
                host.usual_seconds = max(last.usual_seconds, _SHORTEST_SECONDS)
                if now - host.since < _INTERVALS * host.usual_seconds or last.ref.seq != host.seq:
                    continue
                host.silent, host.awaited = True, last.awaited
                news = host.alive or datetime.now(UTC) - last.ref.end < _NEWS
                # What ended long ago in order, or is no capture, is not looked at again.
                host.long_silent = not (last.captured and news) or host.awaited
                if last.captured and news:
                    yield host_id, now - host.since
            elif host.silent and not host.long_silent and now - host.since >= silence.LONG_SECONDS:
                host.long_silent = True
                yield host_id, now - host.since

    def unsettled(self, engine: Engine) -> Iterator[tuple[int, float]]:
        """The hosts of whose alerts time alone decides something, each with the seconds since something came of it.

        Those with alerts that wait to be told, since that need not wait for a snapshot; and those of which nothing is
        to be expected any more, now and then.

        Raises:
            StoreError: the database is away.
        """
        now = self._clock()
        if now - self._settled < _SETTLE_SECONDS:
            return
        self._settled = now
        with reading(engine) as connection:
            unsettled = silence.unsettled(connection)
        for host_id, waits in unsettled.items():
            host = self._hosts.get(host_id)
            if host is None:
                continue
            over = host.silent and not host.awaited and now - host.settled >= _RESOLVE_SECONDS
            if waits or over:
                host.settled = now
                yield host_id, now - host.since

    def _at(self, host_id: int, seq: int, now: float) -> _Host:
        known = self._hosts.get(host_id)
        if known is None:
            return _Host(seq, now)
        return known if known.seq == seq else _Host(seq, now, known.usual_seconds, alive=True)
