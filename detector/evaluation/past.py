"""The stored past of hosts, as what attacks are planted into. It is read, and never written to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.domain import CaptureHealth, Snapshot
from detector.errors import DetectorError
from detector.evaluation.cases import Cases, recorded
from detector.evaluation.coarser import coarser
from detector.store.damage import passed_over
from detector.store.engine import reading
from detector.store.filters import known_hosts
from detector.store.packed import SNAPSHOTS_AT_ONCE, read_packed
from detector.store.snapshots import stored_counts
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from detector.domain import ConnectionKey

MOST_ROWS = 3_000_000
"""Rows of all hosts that are held in memory, some 300 bytes each."""

_HALF = 0.5


class Past:
    """What a database holds of a period."""

    def __init__(self, engine: Engine, since: datetime, until: datetime | None, seconds: int) -> None:
        """`seconds`: shorter snapshots are added up to ones of this length."""
        self._engine, self._since, self._until, self._seconds = engine, since, until, seconds
        self.damaged = 0
        """Snapshots that cannot be read, and are without counts here."""

    def cases(self, wanted: Callable[[str], bool], told: Callable[[float], None] = lambda _: None) -> Cases:
        """Each host whose name is wanted, the first half of its time as history.

        Args:
            wanted: which hosts.
            told: is called now and then with the part that is read.

        Raises:
            DetectorError: there is more than can be held in memory.
            StoreError: the database is away.
        """
        found, left_out, rows = [], {}, 0
        with reading(self._engine) as connection:
            chosen = {host_id: host for host_id, host in known_hosts(connection).items() if wanted(host)}
            for number, (host_id, host) in enumerate(chosen.items()):
                read: list[Snapshot] = []
                for each in coarser(self._read(connection, host_id, host), self._seconds):
                    read.append(each)
                    told((number + self._part(each.end)) / len(chosen))
                    rows += len(each.counts)
                    if rows > MOST_ROWS:
                        raise DetectorError(
                            f"more than {MOST_ROWS:,} rows are stored of this time",
                            hint="look at less of it (--since 3d), at fewer hosts (--hosts), or at longer snapshots"
                            " (--seconds 900)",
                        )
                if any(each.counts for each in read):
                    found.append(recorded(read, host, split=_HALF))
                else:
                    left_out[host] = "no connects of this time are stored"
            self.damaged = passed_over(connection)
        return Cases(hosts=found, attacks=(), left_out=left_out)

    def _part(self, end: datetime) -> float:
        """How far into the period a moment is, 0 to 1."""
        until = datetime.now(UTC) if self._until is None else self._until
        length = (until - self._since).total_seconds()
        return min(1.0, max(0.0, (end - self._since).total_seconds() / length)) if length > 0 else 1.0

    def _read(self, connection: Connection, host_id: int, host: str) -> Iterator[Snapshot]:
        """The snapshots of a host in the order in which they were stored."""
        columns = snapshots.c
        wanted = (
            select(columns.seq, columns.start, columns.end, columns.stopped)
            .where(columns.host_id == host_id, columns.end > self._since)
            .order_by(columns.seq)
        )
        if self._until is not None:
            wanted = wanted.where(columns.end <= self._until)
        keys: dict[ConnectionKey, ConnectionKey] = {}
        after, end = 0, None
        while page := connection.execute(wanted.where(columns.seq > after).limit(SNAPSHOTS_AT_ONCE)).all():
            packed = {
                each.seq: each for each in read_packed(connection, host_id, (page[0].seq, page[-1].seq), scores=False)
            }
            for row in page:
                stored = stored_counts(connection, host_id, packed[row.seq]) if row.seq in packed else []
                # Most rows are of keys that were there before: one object each.
                counts = [replace(each.count, key=keys.setdefault(each.count.key, each.count.key)) for each in stored]
                # Where the clock was set back, time is told once.
                if end is None or row.start >= end:
                    end = row.end
                    yield Snapshot(
                        host=host,
                        start=row.start,
                        end=row.end,
                        counts=tuple(counts),
                        health=CaptureHealth(stopped=row.stopped),
                    )
            after = page[-1].seq
