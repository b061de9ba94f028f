"""Training a forest beside detection: how long it takes, in how much memory, and what detection notices of it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures import Figure
from detector.config import Models
from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol, SnapshotRef, StoredCount
from detector.models import samples
from detector.models.features import FEATURES
from detector.models.scorer import HostScorer
from detector.service.training import train_host
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.snapshots import host_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

_ROWS = 10_000_000
_AT_ONCE = 10_000
_START = datetime(2026, 3, 2, tzinfo=UTC)
_SETTINGS = Models(burn_in_hours=0)
_SNAPSHOT_ROWS = 250


def measure() -> Iterator[Figure]:
    """Offers 10 million rows to the sample, four weeks' worth, then trains with and without detection beside it."""
    with TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{Path(folder) / 'training.db'}")
        upgrade(engine)
        with writing(engine) as connection:
            host_id = host_number(connection, "bastion-1", _START)
        took = _offer(engine, host_id)
        yield Figure("offering 10 million rows to the sample", took, "s", "processor time, 10,000 at once")
        scorer = HostScorer(_SETTINGS, trains=False)
        quiet = [_detect(engine, scorer, host_id, number) for number in range(1, 21)]
        memory, began = _resident(), time.process_time()
        train_host(engine, host_id, _SETTINGS)
        yield Figure(
            "training on what is kept of them, with the comparison", time.process_time() - began, "s", "processor time"
        )
        yield Figure(
            "memory that it adds", max(_peak() - memory, 0.0), "MB", f"the process then has {_peak():.0f} MB at most"
        )
        stop = threading.Event()
        worker = threading.Thread(target=_train_on, args=(engine, host_id, stop))
        worker.start()
        beside = [_detect(engine, scorer, host_id, number) for number in range(21, 61)]
        stop.set()
        worker.join()
        note = f"{np.median(quiet) * 1000:.0f} ms without; the longest {max(beside) * 1000:.0f} ms"
        yield Figure(
            f"detection of {_SNAPSHOT_ROWS} rows while forests are trained all the time",
            float(np.median(beside)) * 1000,
            "ms",
            note,
        )
        engine.dispose()


def _offer(engine: Engine, host_id: int) -> float:
    chance = np.random.default_rng(0)
    counts = _counts(_AT_ONCE)
    actors = np.array([samples.actor_of(each.count.key) for each in counts], dtype=np.int64)
    began = time.process_time()
    length = timedelta(days=28) * _AT_ONCE / _ROWS
    for number in range(_ROWS // _AT_ONCE):
        rows = chance.exponential(size=(_AT_ONCE, len(FEATURES))).astype(np.float32)
        end = _START + (number + 1) * length
        snapshot = SnapshotRef(host_id=host_id, host="bastion-1", seq=number + 1, start=end - length, end=end)
        with writing(engine) as connection:
            samples.offer(connection, snapshot, counts, rows, actors, capacity=_SETTINGS.train_rows)
    return time.process_time() - began


def _detect(engine: Engine, scorer: HostScorer, host_id: int, number: int) -> float:
    end = _START + timedelta(days=29, minutes=number)
    snapshot = SnapshotRef(host_id=host_id, host="bastion-1", seq=number, start=end - timedelta(minutes=1), end=end)
    began = time.perf_counter()
    with writing(engine) as connection:
        scorer.score(connection, snapshot, _counts(_SNAPSHOT_ROWS))
    return time.perf_counter() - began


def _train_on(engine: Engine, host_id: int, stop: threading.Event) -> None:
    while not stop.is_set():
        train_host(engine, host_id, _SETTINGS)


def _counts(rows: int) -> Sequence[StoredCount]:
    return [
        StoredCount(
            key_id=number + 1,
            first_seen=_START,
            count=ConnectionCount(
                key=ConnectionKey(
                    direction=Direction.OUTBOUND,
                    protocol=Protocol.TCP,
                    remote_address=ip_address(0x0A000000 + number % 250),
                    remote_port=22,
                    user=f"user-{number % 40}",
                    executable=f"/usr/bin/program-{number % 7}",
                ),
                attempted=1,
                established=1,
            ),
        )
        for number in range(rows)
    ]


def _resident() -> float:
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1000
