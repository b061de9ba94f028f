"""The role that captures: it stores one snapshot each interval.

It runs for months on every host, so it imports nothing that only detection or the command line need, and the database
library only when the kernel is counting already.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from detector import readiness, supervisor
from detector.account import STATE_MODE, acting_as, of_service
from detector.bpf.capture import Capture
from detector.collector import privileges
from detector.collector.listeners import listening
from detector.collector.live import LiveCollector
from detector.collector.names import Names
from detector.collector.networks import Networks
from detector.collector.spool import Spool
from detector.errors import AlreadyRunningError, ConfigError
from detector.service.memory import give_back, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from detector.domain import Snapshot, SnapshotRef
    from detector.service.storing import Storing

SPOOL = "spool"
"""The folder below the state folder in which snapshots wait for the database."""
_MEGABYTE = 1_000_000
# A snapshot is late when it comes later than a busy machine explains.
_LATE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """What to collect and where to put it: plain values, which can be handed to another process.

    All but the first three and the last two are those of `config.Collector`.
    """

    host: str
    state: str
    database_url: str
    interval_seconds: float
    map_entries: int
    exclude_loopback: bool
    remembered_names: int
    country_file: str
    network_file: str
    spool_megabytes: int
    cache_folder: str
    account: str | None = None
    """The account that root leaves the work to once the kernel counts; None: none."""
    parent: int | None = None
    """See `supervisor.end_with_parent`."""


class Reporter(Protocol):
    """Where the role says what it does."""

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """A snapshot was stored."""

    def fault(self, message: str) -> None:
        """Something is wrong, or right again; the role goes on."""


def collect(wanted: Collecting, stop: Event, report: Reporter) -> None:
    """Captures and stores one snapshot each interval, and a last one at the end.

    While the database is away, snapshots wait on disk (see `Backlog`), those of earlier collectors included.

    Raises:
        AlreadyRunningError: another collector runs here.
        CaptureError: the kernel programs cannot be loaded or read.
        ConfigError: a file that is named cannot be used.
        SpoolError: the spool cannot be read at the start.
        StoreError: the database is missing or of another version, or the last snapshots can neither be stored nor
            wait on disk at the end.
    """
    account = of_service(wanted.account) if wanted.account else None
    privileges.limit(account)
    with ExitStack() as held:
        # What is read and made on disk is the account's from the start. What is compiled for the kernel is not: who may
        # write there could have anything loaded.
        with acting_as(account):
            held.enter_context(_only_one(Path(wanted.state)))
            spool = held.enter_context(closing(Spool(Path(wanted.state) / SPOOL, wanted.spool_megabytes * _MEGABYTE)))
            networks = held.enter_context(_networks(wanted, report))
        capture = held.enter_context(Capture(map_entries=wanted.map_entries, cache=wanted.cache_folder))
        collector = held.enter_context(
            LiveCollector(
                capture,
                wanted.host,
                exclude_loopback=wanted.exclude_loopback,
                names=Names(wanted.remembered_names) if wanted.remembered_names else None,
                networks=networks,
            )
        )
        capture.add_listeners(listening())
        began = time.monotonic()
        # Here, since importing what it takes is as slow as loading the kernel programs, which count meanwhile.
        from detector.service.storing import Storing

        storing = Storing(wanted.database_url, wanted.host, spool, report, interval_seconds=wanted.interval_seconds)
        for kept in privileges.drop(storing.database_file, account):
            report.fault(kept)
        if wanted.parent:
            # The kernel forgets the wish whenever the account changes.
            supervisor.end_with_parent(wanted.parent)
        settle()
        storing.start()
        _take_snapshots(collector, storing, wanted.interval_seconds, stop, began)
        storing.finish()


def _take_snapshots(
    collector: LiveCollector, storing: Storing, interval_seconds: float, stop: Event, began: float
) -> None:
    """One each interval from the moment `began` on, and a last one at the end."""
    watchdog = readiness.begun()
    due = began
    stopping = False
    while not stopping:
        give_back()
        due += interval_seconds
        stopping = watchdog.wait(stop, due - time.monotonic())
        if stopping:
            readiness.stopping()
        late = time.monotonic() - due
        late = late if late > _LATE_SECONDS else 0.0
        storing.put(collector.take(late_seconds=late, stopped=stopping))
        # What was due meanwhile is in the next one.
        due = max(due, time.monotonic() - interval_seconds)


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Two collectors that share a state folder would store every connect twice."""
    path = state / "collect.lock"
    try:
        state.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
        # For its owner alone: whoever can open it could hold it, and keep capture from starting.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}", hint="set state_folder, or mend its permissions") from fault
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError("another collect is running on this host", hint="stop it first") from None
        yield
    finally:
        os.close(lock)


@contextmanager
def _networks(wanted: Collecting, report: Reporter) -> Iterator[Networks | None]:
    country, network = (Path(name) if name else None for name in (wanted.country_file, wanted.network_file))
    if not country and not network:
        yield None
        return
    networks = Networks(country, network, report=report.fault)
    try:
        yield networks
    finally:
        networks.close()
