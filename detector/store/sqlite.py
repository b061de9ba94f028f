"""What SQLite's connections are set to, and how its transactions begin."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import StoreAwayError
from detector.store import functions
from detector.store.faults import SQLITE_BUSY_SECONDS

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import Connection
    from sqlalchemy.pool import ConnectionPoolEntry

OPENED_FILE = "opened_file"
"""Of a connection's `info`: which file it opened, as path and inode; None: none."""
_SET = "set"
_PAGE_BYTES = 8192
# What is left of SQLite's log when it has been as large as a snapshot of a scan.
_WAL_BYTES = 16 << 20
# So much of it is taken into the file at a time; SQLite counts in pages.
_CHECKPOINT_BYTES = 4 << 20
# SQLITE_BUSY of sqlite3.h.
_BUSY, _LOOK_AGAIN_SECONDS = 5, 0.02
_MIGRATION_SECONDS = 3600.0


def prepare(raw: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    """Sets a new connection up; that of a file that is yet to be made decides how it is made."""
    path = raw.execute("PRAGMA database_list").fetchone()[2]
    record.info[OPENED_FILE] = (path, Path(path).stat().st_ino) if path else None
    # The driver must not open transactions by itself: begin does.
    raw.isolation_level = None
    functions.register(raw)
    cursor = raw.cursor()
    # Of a file that is not written to yet. Later it would take the lock, and change nothing before a VACUUM.
    if not cursor.execute("PRAGMA page_count").fetchone()[0]:
        # A packed snapshot has about 2 kB: of the usual 4 kB half would often be empty. First, or it is as it was.
        cursor.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        # Pages that are free can be given back step by step.
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    _use_wal(cursor)
    cursor.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
    cursor.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_BYTES // _PAGE_BYTES}")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """The first ones to open a new file may do so at once, and this one lock is not waited for by SQLite."""
    import sqlite3

    until = time.monotonic() + SQLITE_BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as fault:
            if getattr(fault, "sqlite_errorcode", 0) & 0xFF != _BUSY or time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


def begin(connection: Connection) -> None:
    """Begins a transaction as the execution options of the connection ask for: see `engine.writing`."""
    # A transaction that reads first and writes later would fail with SQLITE_BUSY_SNAPSHOT when another process
    # writes in between; taking the write lock at the start waits for it instead.
    options = connection.get_execution_options()
    if options.get("detector_outside"):
        # Whatever is set there stays.
        connection.info.pop(_SET, None)
        return
    if opened := connection.info[OPENED_FILE]:
        check_same_file(connection, *opened)
    # A migration that copies a table drops the old one, which would take the rows that refer to it for orphans. Within
    # a transaction this cannot be set, and the pool hands the same connection to others.
    migrates = options.get("detector_migrates")
    # Who comes second waits for as long as a large file takes.
    patience = _MIGRATION_SECONDS if migrates else SQLITE_BUSY_SECONDS
    wanted = (
        f"PRAGMA foreign_keys={'OFF' if migrates else 'ON'}",
        f"PRAGMA busy_timeout={int(patience * 1000)}",
        f"PRAGMA synchronous={'NORMAL' if options.get('detector_relaxed') else 'FULL'}",
    )
    # A connection stays as the last one who had it left it.
    if connection.info.get(_SET) != wanted:
        for pragma in wanted:
            connection.exec_driver_sql(pragma)
        connection.info[_SET] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("detector_writes") else "BEGIN")


def check_same_file(connection: Connection | None, path: str, inode: int) -> None:
    """What is written to a file that was deleted or replaced would be gone with the process.

    Raises:
        StoreAwayError: it was.
    """
    try:
        same = Path(path).stat().st_ino == inode
    except FileNotFoundError:
        same = False
    if not same:
        # The next attempt opens what is there by then.
        if connection is not None:
            connection.invalidate()
        raise StoreAwayError(
            f"database {path}: the file was removed or replaced", hint="put it back, or restart detector"
        )
