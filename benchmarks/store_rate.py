"""Rows stored per second, through the product's own writer, beside plain inserts of the same rows as single ones.

On SQLite `executemany`, on Postgres COPY, into a table with the columns and the key of `connection_counts`.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.figures import Figure
from benchmarks.servers import postgres
from detector.domain import Snapshot
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.snapshots import SnapshotWriter
from tests.builders import START, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUNDS = 101
# Until then both drivers ask the server to plan each statement anew.
_WARMING_UP = 10
_KEYS = 20_000
_COLUMNS = (
    "host_id", "seq", "key_id", "session", "origin_id", "name_id", "attempted", "established", "refused", "timed_out",
    "failed", "handshake_us_total", "handshake_us_max",
)  # fmt: skip
_TABLE = f"CREATE TABLE c ({' bigint, '.join(_COLUMNS)} bigint, PRIMARY KEY (host_id, seq, key_id, session))"


def measure() -> Iterator[Figure]:
    """Snapshots of 250 and of 10,000 counts, durable at each; all keys are known after the first round."""
    for size in (250, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            plain = sqlite3.connect(Path(folder) / "plain.db")
            plain.execute("PRAGMA journal_mode=WAL")
            plain.execute("PRAGMA synchronous=FULL")
            plain.execute(f"{_TABLE} WITHOUT ROWID")
            yield from _compared(f"sqlite:///{folder}/detector.db", size, "executemany", partial(_many, plain))
            plain.close()
        with postgres() as (url, _), psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_TABLE)
            yield from _compared(url, size, "COPY", partial(_copy, connection))


def _compared(url: str, size: int, way: str, plain: Callable[[list[tuple[int, ...]]], None]) -> Iterator[Figure]:
    engine = open_store(url)
    upgrade(engine)
    writer = SnapshotWriter("bastion-1")
    ours, theirs = [], []
    for number in range(_WARMING_UP + _ROUNDS):
        snapshot = _snapshot(number, size)
        started = time.perf_counter()
        with writing(engine) as connection:
            writer.write(connection, snapshot)
        ours.append(size / (time.perf_counter() - started))
        rows: list[tuple[int, ...]] = [(1, number, index, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0) for index in range(size)]
        started = time.perf_counter()
        plain(rows)
        theirs.append(size / (time.perf_counter() - started))
    database = "SQLite" if engine.dialect.name == "sqlite" else "Postgres"
    engine.dispose()
    name = f"{database}, snapshots of {size:,}"
    warm, compared = ours[_WARMING_UP:], theirs[_WARMING_UP:]
    yield Figure(f"{name}: rows stored", median(warm), "1/s", f"median of {_ROUNDS}")
    yield Figure(f"{name}: first, with new keys", ours[0], "1/s", "once")
    ratio = median(one / other for one, other in zip(warm, compared, strict=True))
    yield Figure(f"{name}: of {way}", ratio, "", "the same rows, same run")


def _snapshot(number: int, size: int) -> Snapshot:
    start = START + timedelta(seconds=10 * number)
    counts = tuple(
        count(f"10.{index // 65536}.{index // 256 % 256}.{index % 256}", 443, attempted=3, established=3)
        for index in range(min(size, _KEYS))
    )
    return Snapshot(host="bastion-1", start=start, end=start + timedelta(seconds=10), counts=counts)


def _many(database: sqlite3.Connection, rows: list[tuple[int, ...]]) -> None:
    with database:
        database.executemany(f"INSERT INTO c VALUES ({', '.join('?' * len(_COLUMNS))})", rows)


def _copy(connection: psycopg.Connection[Any], rows: list[tuple[int, ...]]) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY c FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
