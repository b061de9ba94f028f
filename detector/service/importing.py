"""Stores what a log tells, snapshot by snapshot, so that an interrupted import goes on where it stopped."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from detector.errors import StoreError
from detector.store import imports
from detector.store.engine import reading, writing
from detector.store.snapshots import SnapshotWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Engine

    from detector.collector.log_lines import LoggedSnapshot
    from detector.domain import SnapshotRef
    from detector.store.imports import Imported, Source, Standing

# What one transaction stores: some milliseconds' worth, so that a collector that writes to the same database waits for
# no longer than that, and that a snapshot costs no flush of the disk of its own.
_BATCH_COUNTS = 2000
_BATCH_SNAPSHOTS = 200
# Each remembers the keys of its host.
_WRITERS = 16


@dataclass(slots=True)
class HostImport:
    """What was stored, or would be, of one host by this run."""

    snapshots: int = 0
    start: datetime | None = None
    end: datetime | None = None


@dataclass(slots=True)
class ImportResult:
    """What this run did."""

    rows: int = 0
    """Rows of the log that are in the stored snapshots."""
    snapshots: int = 0
    counts: int = 0
    """Rows of the store."""
    stored_before: int = 0
    """Rows of the log that an interrupted import had stored."""
    too_old: int = 0
    """Rows of the log from before the end of what the host held."""
    hosts: dict[str, HostImport] = field(default_factory=dict)


class LogImport:
    """The import of one source; exact, whenever and however it is interrupted."""

    def __init__(self, engine: Engine, source: Source, *, live_host: str, dry_run: bool = False) -> None:
        """`live_host` is the name under which a collector on this machine stores."""
        self._engine, self._source, self._dry_run, self._live_host = engine, source, dry_run, live_host
        self._hosts: dict[str, _Host] = {}
        self._writers: OrderedDict[str, SnapshotWriter] = OrderedDict()
        self.result = ImportResult()

    def done_before(self, host: str | None = None) -> list[Imported]:
        """What says that all of the source was imported before, into `host` if it is named; empty: it was not.

        Raises:
            StoreError: the database is away; or the source is half imported in another way.
        """
        with reading(self._engine) as connection:
            before = imports.imported(connection, self._source.digest, host)
        for each in before:
            if each.finished_at is None and each.options != self._source.options:
                raise StoreError(
                    f"the import of this log into {each.host} was interrupted, and was made "
                    f"{'with ' + each.options if each.options else 'without options'}",
                    hint="import it in the same way, or into another host: --host NAME",
                )
        return [] if any(each.finished_at is None for each in before) else before

    def check(self, host: str) -> None:
        """Whether `host` may be imported into.

        Raises:
            StoreError: a collector stores under this name; or the database is away.
        """
        with reading(self._engine) as connection:
            self._begin(connection, host)

    def run(self, snapshots: Iterable[LoggedSnapshot]) -> None:
        """Stores the snapshots, those of each host in the order of time, but for what is there; see `result`.

        Raises:
            StoreError: a collector stores, or begins to store, under a host's name; or the database is away.
        """
        batch: list[LoggedSnapshot] = []
        counts = 0
        for each in snapshots:
            batch.append(each)
            counts += len(each.snapshot.counts)
            if counts >= _BATCH_COUNTS or len(batch) >= _BATCH_SNAPSHOTS:
                self._store(batch)
                batch, counts = [], 0
        self._store(batch)

    def finish(self, *, refused: int, left_out: int) -> None:
        """Says that all of the source is imported: what comes again does nothing.

        Raises:
            StoreError: the database is away.
        """
        if not self._dry_run and self._hosts:
            with writing(self._engine) as connection:
                now = datetime.now(UTC)
                imports.finish(connection, self._source, self._hosts, refused=refused, left_out=left_out, now=now)

    def _store(self, batch: Sequence[LoggedSnapshot]) -> None:
        with reading(self._engine) if self._dry_run else writing(self._engine) as connection:
            for host in {each.snapshot.host for each in batch}:
                self._begin(connection, host)
            new = [each for each in batch if self._hosts[each.snapshot.host].lacks(each)]
            if not self._dry_run:
                self._write(connection, new)
        # Committed: now it may be said.
        self._count(batch, new)

    def _begin(self, connection: Connection, host: str) -> None:
        """Looks where a host stands, and whether it is ours, before each batch."""
        stands = imports.standing(connection, host)
        known = self._hosts.get(host)
        if known is None:
            if host == self._live_host and not stands.known:
                raise StoreError(
                    f"{host} is the name under which a collector on this machine stores",
                    hint="name another host for the log: --host NAME",
                )
            before = imports.imported(connection, self._source.digest, host)
            self._hosts[host] = _Host(stands, before[0] if before else None)
        elif not self._dry_run and stands.seq != known.seq:
            raise _taken(host)

    def _write(self, connection: Connection, new: Sequence[LoggedSnapshot]) -> None:
        stored: dict[str, list[SnapshotRef]] = defaultdict(list)
        rows: Counter[str] = Counter()
        for each in new:
            host = each.snapshot.host
            try:
                stored[host].append(self._writer(host).write(connection, each.snapshot))
            except IntegrityError as fault:
                raise _taken(host) from fault
            rows[host] += each.rows
        now = datetime.now(UTC)
        for host, refs in stored.items():
            imports.advance(connection, self._source, refs, rows=rows[host], now=now)

    def _writer(self, host: str) -> SnapshotWriter:
        writer = self._writers.pop(host, None) or SnapshotWriter(host)
        self._writers[host] = writer
        if len(self._writers) > _WRITERS:
            self._writers.popitem(last=False)
        return writer

    def _count(self, batch: Sequence[LoggedSnapshot], new: Sequence[LoggedSnapshot]) -> None:
        result = self.result
        for each in new:
            snapshot = each.snapshot
            result.rows += each.rows
            result.snapshots += 1
            result.counts += len(snapshot.counts)
            of_host = result.hosts.setdefault(snapshot.host, HostImport())
            of_host.snapshots += 1
            of_host.start = of_host.start or snapshot.start
            of_host.end = snapshot.end
            host = self._hosts[snapshot.host]
            host.until, host.seq = snapshot.end, host.seq + 1
        stored = set(map(id, new))
        for each in batch:
            if id(each) not in stored:
                if self._hosts[each.snapshot.host].had(each):
                    result.stored_before += each.rows
                else:
                    result.too_old += each.rows


class _Host:
    """Where a host stands that is imported into, as far as this import knows."""

    def __init__(self, stands: Standing, before: Imported | None) -> None:
        self.until, self.seq, self.before = stands.until, stands.seq, before

    def lacks(self, each: LoggedSnapshot) -> bool:
        """Whether a snapshot is not there: it begins where the last one ended, or later."""
        return self.until is None or each.snapshot.start >= self.until

    def had(self, each: LoggedSnapshot) -> bool:
        """Whether a snapshot was stored of this very source."""
        before = self.before
        return before is not None and before.stored_from <= each.snapshot.start < before.stored_until


def _taken(host: str) -> StoreError:
    return StoreError(
        f"something else stores snapshots of {host} at the moment",
        hint="when it is through, start this again: it goes on",
    )
