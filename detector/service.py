"""The long-running roles, until they are told to stop: `collect` writes snapshots, `detect` works through them."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from detector import pipeline
from detector.bpf import preflight
from detector.bpf.capture import Capture
from detector.collector import privileges
from detector.collector.backlog import Backlog
from detector.collector.listeners import listening
from detector.collector.live import LiveCollector
from detector.collector.names import Names
from detector.collector.networks import Networks
from detector.errors import AlreadyRunningError, ConfigError, DeliveryError, RuleError, StoreError
from detector.notify.channels import CONSOLE, open_channels
from detector.notify.outbox import deliver_due
from detector.notify.retry import RetryPolicy
from detector.store.engine import check_current, database_file, open_store, writing
from detector.store.outbox import StoredOutbox
from detector.store.snapshots import SnapshotWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from threading import Event

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.domain import Snapshot, SnapshotRef
    from detector.notify.outbox import Notifier
    from detector.pipeline import Detected

# How soon detection notices a new snapshot, and delivery a new notification.
_POLL_SECONDS = 0.25
_TURN_SECONDS = 1.0
_STORE_AWAY_SECONDS = 2.0
_LAST_DELIVERY_SECONDS = 1.0
# A snapshot is late when it comes later than a busy machine explains.
_LATE_SECONDS = 1.0


class Reporter(Protocol):
    """Where a role says what it does."""

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:
        """A snapshot was stored."""

    def detected(self, detected: Detected) -> None:
        """Detection is through with a snapshot."""

    def fault(self, message: str) -> None:
        """Something is wrong, or right again; the role goes on."""


def collect(settings: Settings, stop: Event, report: Reporter) -> None:
    """Captures and stores one snapshot each interval, and a last one at the end.

    While the database is away, snapshots wait in memory (see `Backlog`).

    Raises:
        PreflightError: this machine lacks something that capture needs.
        AlreadyRunningError: another collector runs here.
        CaptureError: the kernel programs cannot be loaded or read.
        StoreError: the database cannot be used at the start, or the last snapshots not be stored at the end.
    """
    preflight.require()
    engine = open_store(settings.database_url)
    check_current(engine)
    writer = _BacklogWriter(engine, settings.host_name, report)
    wanted = settings.collector
    with (
        _only_one(settings.state),
        _networks(settings, report) as networks,
        Capture(map_entries=wanted.map_entries) as capture,
        LiveCollector(
            capture,
            settings.host_name,
            exclude_loopback=wanted.exclude_loopback,
            names=Names(wanted.remembered_names) if wanted.remembered_names else None,
            networks=networks,
        ) as collector,
    ):
        capture.add_listeners(listening())
        for kept in privileges.drop(database_file(engine)):
            report.fault(kept)
        due = time.monotonic()
        stopping = False
        while not stopping:
            due += wanted.interval_seconds
            stopping = stop.wait(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            writer.write(collector.take(late_seconds=late if late > _LATE_SECONDS else 0.0))
            # What was due meanwhile is in the next one.
            due = max(due, time.monotonic() - wanted.interval_seconds)
    if writer.waiting:
        raise StoreError(
            f"{writer.waiting} snapshots could not be stored before the end and are lost",
            hint="look after the database first, and stop collect then",
        )


@contextmanager
def _networks(settings: Settings, report: Reporter) -> Iterator[Networks | None]:
    country, network = settings.collector.country_file, settings.collector.network_file
    if not country and not network:
        yield None
        return
    networks = Networks(Path(country) if country else None, Path(network) if network else None, report=report.fault)
    try:
        yield networks
    finally:
        networks.close()


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Two collectors that share a state folder would store every connect twice."""
    path = state / "collect.lock"
    try:
        state.mkdir(mode=0o750, parents=True, exist_ok=True)
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


class _BacklogWriter:
    def __init__(self, engine: Engine, host: str, report: Reporter) -> None:
        self._engine = engine
        self._writer = SnapshotWriter(host)
        self._backlog = Backlog()
        self._report = report
        self._away = False

    @property
    def waiting(self) -> int:
        return len(self._backlog)

    def write(self, snapshot: Snapshot) -> None:
        self._backlog.add(snapshot)
        try:
            while (oldest := self._backlog.oldest()) is not None:
                with writing(self._engine) as connection:
                    ref = self._writer.write(connection, oldest)
                self._backlog.written()
                self._report.snapshot(ref, oldest)
        except StoreError as fault:
            # What the transaction had numbered is rolled back with it.
            self._writer.forget()
            self._report.fault(f"{fault.message}; {self.waiting} snapshots wait in memory")
            self._away = True
        else:
            if self._away:
                self._report.fault("the database is back; all waiting snapshots are stored")
            self._away = False


def detect(settings: Settings, stop: Event, report: Reporter) -> None:
    """Takes each stored snapshot through models, rules and alerts, oldest first, and delivers what is to be sent.

    Starts where it stopped. Rule files with faults are left out, and named.

    Raises:
        ConfigError: a channel cannot be used.
        DeliveryError: the thread that delivers has ended.
        RuleError: no rule is left to work with.
        StoreError: the database cannot be used at the start.
    """
    engine = open_store(settings.database_url)
    check_current(engine)
    stages = build_stages(settings, report)
    delivery = Thread(
        target=_deliver,
        name="delivery",
        # A channel that hangs must not hold up the end: what was under way stays in the outbox, and is sent again.
        daemon=True,
        args=(
            StoredOutbox(engine),
            open_channels(settings, sys.stdout),
            RetryPolicy.from_settings(settings.notify),
            stop,
            report,
        ),
    )
    delivery.start()
    try:
        while not stop.is_set():
            if not delivery.is_alive():
                raise DeliveryError("the delivery of alerts has ended by itself", hint="see what it said before")
            try:
                _detect_waiting(engine, stages, stop, report)
                stop.wait(_POLL_SECONDS)
            except StoreError as fault:
                report.fault(f"{fault.message}; detection waits")
                stop.wait(_STORE_AWAY_SECONDS)
    finally:
        # Also when a fault of ours ends the loop: the thread must not keep a process alive that detects nothing.
        stop.set()
        delivery.join(_LAST_DELIVERY_SECONDS)


def build_stages(settings: Settings, report: Reporter) -> pipeline.Stages:
    """The stages of detection as configured.

    Raises:
        RuleError: no rule is left to work with.
    """
    from detector.alerts.book import AlertBook, ChannelPolicy
    from detector.domain import Severity
    from detector.models.scorer import HostScorer
    from detector.ruleset.load import load_rules

    loaded = load_rules(settings.rule_folders)
    if loaded.faults and not loaded.ruleset.rules:
        raise RuleError(loaded.faults)
    for fault in loaded.faults:
        report.fault(f"rule refused: {fault}")
    channels = [ChannelPolicy(name=channel.name, min_severity=channel.min_severity) for channel in settings.channels]
    if settings.notify.console:
        channels.append(ChannelPolicy(name=CONSOLE, min_severity=Severity.INFORMATIONAL))
    return pipeline.Stages(
        scorer=HostScorer(settings.models),
        ruleset=loaded.ruleset,
        alert_book=AlertBook(channels, timedelta(seconds=settings.alerts.cooldown_seconds)),
    )


def _detect_waiting(engine: Engine, stages: pipeline.Stages, stop: Event, report: Reporter) -> None:
    """Works through what waits, for about a second at a time: then collect and delivery have their turn.

    Whoever waits for SQLite's lock looks for it every 100 ms only, and would never find it free between one snapshot
    and the next.
    """
    until = time.monotonic() + _TURN_SECONDS
    for host_id in pipeline.hosts_behind(engine):
        while not stop.is_set() and time.monotonic() < until:
            detected = pipeline.detect_next(engine, host_id, stages)
            if detected is None:
                break
            report.detected(detected)


def _deliver(
    outbox: StoredOutbox, channels: Mapping[str, Notifier], policy: RetryPolicy, stop: Event, report: Reporter
) -> None:
    while not stop.is_set():
        try:
            done = deliver_due(outbox, channels, clock=lambda: datetime.now(UTC), policy=policy, stopping=stop.is_set)
        except StoreError as fault:
            report.fault(f"{fault.message}; delivery waits")
            stop.wait(_STORE_AWAY_SECONDS)
            continue
        for failure in done.failures:
            fate = "given up" if failure.dead else "it is tried again"
            report.fault(
                f"alert {failure.notification.alert_id} could not be sent to {failure.notification.channel}: "
                f"{failure.error}; {fate}"
            )
        stop.wait(_POLL_SECONDS)
