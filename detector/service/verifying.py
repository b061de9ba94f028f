"""Looks, a little at a time, whether what is stored is what was written."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detector.store import tampering
from detector.store.engine import reading, writing
from detector.store.turns import hosts_with_cursor
from detector.store.verifying import Verifier, missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from detector.store.chain import Break

# How often it is looked whether all are there; what they say is looked at a page at a time.
_ALL_THERE = timedelta(hours=1)


class Verifying:
    """Goes through the chains of all hosts, again and again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places: dict[int, int] = {}
        """Up to where each host's was looked at."""
        self._turn: list[int] = []
        self._counted: dict[int, datetime] = {}

    def some(self, now: datetime) -> Iterator[None]:
        """A page of snapshots of the host whose turn it is; and of all hosts whether their newest is there, or all.

        Raises:
            StoreError: the database is away.
        """
        hosts = hosts_with_cursor(self._engine)
        for host_id in hosts:
            last = self._counted.get(host_id)
            whole = last is None or not timedelta(0) <= now - last < _ALL_THERE
            if whole:
                self._counted[host_id] = now
            with reading(self._engine) as connection:
                breaks = missing(connection, host_id, newest_only=not whole)
            self._note(breaks, now)
            yield
        self._turn = [host_id for host_id in self._turn if host_id in hosts] or list(hosts)
        if self._turn:
            self._note(self._page(self._turn.pop(0)), now)
            yield

    def _page(self, host_id: int) -> Sequence[Break]:
        with reading(self._engine) as connection:
            page = next(Verifier(connection, host_id).steps(after=self._places.get(host_id, 0)))
        self._places[host_id] = 0 if page.over else page.last_seq
        return page.breaks

    def _note(self, breaks: Sequence[Break], now: datetime) -> None:
        if breaks:
            with writing(self._engine) as connection:
                tampering.remember(connection, breaks, now)
