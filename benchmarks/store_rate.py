"""Rows stored per second, through the product's own writer, beside plain inserts of the same rows."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from detector.domain import Snapshot
from detector.store.engine import open_store, upgrade, writing
from detector.store.snapshots import SnapshotWriter
from tests.builders import START, count

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUNDS = 9
_KEYS = 20_000


def measure() -> Iterator[Figure]:
    """Snapshots of 250 and of 10,000 counts, durable at each; all keys are known after the first round."""
    for size in (250, 10_000):
        ours, plain = [], []
        with tempfile.TemporaryDirectory() as folder:
            engine = open_store(f"sqlite:///{folder}/detector.db")
            upgrade(engine)
            writer = SnapshotWriter("bastion-1")
            for number in range(_ROUNDS + 1):
                snapshot = _snapshot(number, size)
                started = time.perf_counter()
                with writing(engine) as connection:
                    writer.write(connection, snapshot)
                ours.append(size / (time.perf_counter() - started))
                plain.append(size / _plain(Path(folder) / "plain.db", number, size))
            engine.dispose()
        # The first writes its keys as well.
        yield Figure(f"snapshots of {size:,}: rows stored", median(ours[1:]), "1/s", f"SQLite, median of {_ROUNDS}")
        yield Figure(f"snapshots of {size:,}: first, with new keys", ours[0], "1/s", "SQLite, once")
        ratio = median(one / other for one, other in zip(ours[1:], plain[1:], strict=True))
        yield Figure(f"snapshots of {size:,}: of executemany", ratio, "", "the same rows, same run")


def _snapshot(number: int, size: int) -> Snapshot:
    start = START + timedelta(seconds=10 * number)
    counts = tuple(
        count(f"10.{index // 65536}.{index // 256 % 256}.{index % 256}", 443, attempted=3, established=3)
        for index in range(min(size, _KEYS))
    )
    return Snapshot(host="bastion-1", start=start, end=start + timedelta(seconds=10), counts=counts)


def _plain(path: Path, number: int, size: int) -> float:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    columns = "host_id, seq, key_id, session, attempted, established, refused, timed_out, failed, total, max"
    database.execute(
        f"CREATE TABLE IF NOT EXISTS c ({columns}, PRIMARY KEY (host_id, seq, key_id, session)) WITHOUT ROWID"
    )
    rows = [(1, number, index, 0, 3, 3, 0, 0, 0, 0, 0) for index in range(size)]
    started = time.perf_counter()
    with database:
        database.executemany("INSERT INTO c VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    took = time.perf_counter() - started
    database.close()
    return took
