"""A database of its own for rows of the past, in which rules look at them with the statements of live detection."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import StaticPool, create_engine, delete, insert, select

from detector.store import bulk, functions
from detector.store.packing import COUNT_COLUMNS
from detector.store.tables import (
    connection_counts,
    connection_keys,
    destination_names,
    hosts,
    login_origins,
    metadata,
    observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import timedelta

    import numpy.typing as npt
    from sqlalchemy import Connection, FromClause, Table

    from detector.domain import SnapshotRef
    from detector.store.candidates import Candidates

    Numbers = npt.NDArray[np.int64]

# What is in memory of it at most; the rest is in a file without a name, which is gone with the process.
_CACHE_KILOBYTES = 131_072
_LOOKUP_BATCH = 1000
_ZEROES = [
    column.name for column in snapshots.c if column.default is not None and not column.nullable and column.name != "end"
]
# By the name of the column that refers to them.
_REFERRED = ((connection_keys, "key_id"), (login_origins, "origin_id"), (destination_names, "name_id"))


@contextmanager
def opened() -> Iterator[Connection]:
    """An empty database with the tables that rules about connections read."""
    engine = create_engine("sqlite://", creator=_connected, poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=OFF")
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            connection.exec_driver_sql(f"PRAGMA cache_size=-{_CACHE_KILOBYTES}")
            metadata.create_all(connection)
            yield connection
    finally:
        engine.dispose()


def _connected() -> sqlite3.Connection:
    # An empty name is SQLite's for a database that is deleted when it is closed.
    raw = sqlite3.connect("")
    functions.register(raw)
    return raw


class Scratch:
    """Rows of one host, beside what their numbers stand for."""

    def __init__(self, past: Connection, scratch: Connection, host_id: int, tables: frozenset[FromClause]) -> None:
        """Args:
        past: the database that the rows are of.
        scratch: see `opened`; what is there of the host is replaced.
        host_id: whose rows.
        tables: which tables are read, of those that numbers refer to.
        """
        self._past, self.connection, self._host_id = past, scratch, host_id
        self._referred = [each for each in _REFERRED if each[0] in tables]
        self._shown: set[int] = set()
        self._known: dict[str, set[int]] = {name: {0} for _, name in self._referred}
        for table in (*(table for table, _ in _REFERRED), connection_counts, observations, snapshots, hosts):
            scratch.execute(delete(table).where(table.c.host_id == host_id))
        self._copy(hosts, select(hosts).where(hosts.c.host_id == host_id))

    def add(self, rows: Candidates) -> None:
        """Adds rows; what was not read of them is 0."""
        nothing = np.zeros(len(rows.seqs), dtype=np.int64)
        columns = {name: rows.columns.get(name, nothing) for name in COUNT_COLUMNS}
        for table, name in self._referred:
            self._look_up(table, name, set(np.unique(columns[name]).tolist()))
        seqs, values = rows.seqs.tolist(), [columns[name].tolist() for name in COUNT_COLUMNS]
        self._insert(connection_counts, zip(seqs, *values, strict=True))
        if rows.said is not None:
            places = zip(seqs, values[0], values[1], rows.said, strict=True)
            self._insert(observations, ((seq, key_id, session, *said) for seq, key_id, session, said in places))

    def date(self, seqs: Numbers, starts: Numbers, ends: Numbers) -> None:
        """Adds snapshots of which is known when they began and ended, in microseconds since 1970."""
        raw: Any = self.connection.connection.driver_connection
        new = zip(*(each.tolist() for each in (seqs, starts, ends)), strict=True)
        rows = [(self._host_id, *row) for row in new if row[0] not in self._shown]
        self._shown.update(row[1] for row in rows)
        raw.executemany(
            f'INSERT INTO {snapshots.name} (host_id, seq, start, "end"{", ".join(["", *_ZEROES])})'
            f" VALUES (?, ?, ?, ?{', 0' * len(_ZEROES)})",
            rows,
        )

    def clear(self) -> None:
        """Deletes all rows and snapshots; what their numbers stand for stays."""
        for table in (connection_counts, observations, snapshots):
            self.connection.execute(delete(table).where(table.c.host_id == self._host_id))
        self._shown.clear()

    def show(self, snapshot: SnapshotRef, back: timedelta) -> None:
        """Adds what is known of the snapshots of the window that ends with one."""
        columns = snapshots.c
        # "+ 0" leaves SQLite the index over ends.
        window = select(columns.seq, columns.start, columns.end).where(
            columns.host_id == self._host_id,
            columns.seq + 0 <= snapshot.seq,
            columns.end > snapshot.end - back,
            columns.end <= snapshot.end,
        )
        new = [dict(row) for row in self._past.execute(window).mappings() if row["seq"] not in self._shown]
        if new:
            self.connection.execute(insert(snapshots), [{"host_id": self._host_id, **row} for row in new])
            self._shown.update(row["seq"] for row in new)

    def forget(self, before: int) -> None:
        """Deletes the rows of snapshots before a number."""
        for table in (connection_counts, observations, snapshots):
            self.connection.execute(delete(table).where(table.c.host_id == self._host_id, table.c.seq < before))
        self._shown = {seq for seq in self._shown if seq >= before}

    def _look_up(self, table: Table, name: str, numbers: set[int]) -> None:
        unknown = sorted(numbers - self._known[name])
        for start in range(0, len(unknown), _LOOKUP_BATCH):
            batch = unknown[start : start + _LOOKUP_BATCH]
            among = bulk.among(self._past, table.c[name], batch)
            self._copy(table, select(table).where(table.c.host_id == self._host_id, among))
        self._known[name].update(unknown)

    def _copy(self, table: Table, statement: Any) -> None:
        if rows := [dict(row) for row in self._past.execute(statement).mappings()]:
            self.connection.execute(insert(table), rows)

    def _insert(self, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        # The driver's own, which is several times as fast: they are many, and numbers and text.
        raw: Any = self.connection.connection.driver_connection
        places = ", ".join("?" * (len(table.c) - 1))
        raw.executemany(f"INSERT INTO {table.name} VALUES ({self._host_id}, {places})", rows)
