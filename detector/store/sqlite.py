"""How SQLite's connections are opened, what they are set to, and how transactions begin and end."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DisconnectionError

from detector.errors import StoreAwayError
from detector.store import functions
from detector.store.faults import SQLITE_BUSY_SECONDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from sqlalchemy import Connection, Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

OPENED_FILE = "opened_file"
"""Of a connection's `info`: which file it opened, as path and inode; None: none."""
_SET = "set"
# Of a connection to a file that does not change: which, and its state.
_UNCHANGED = "unchanged"
_PAGE_BYTES = 8192
# What is left of SQLite's log when it has been as large as a snapshot of a scan.
_WAL_BYTES = 16 << 20
# So much of it is taken into the file at a time; SQLite counts in pages.
_CHECKPOINT_BYTES = 4 << 20
# SQLITE_BUSY of sqlite3.h.
_BUSY, _LOOK_AGAIN_SECONDS = 5, 0.02
_MIGRATION_SECONDS = 3600.0


def connect(
    dialect: Dialect, record: ConnectionPoolEntry, arguments: list[str], options: dict[str, object]
) -> object | None:
    """Opens a file that this user may only read, and that nobody has open, as one that does not change.

    SQLite would have to write beside it. None: the usual way is taken.
    """
    path = Path(arguments[0]) if arguments and arguments[0] != ":memory:" else None
    if path is None:
        return None
    with _looking_at(path):
        if _is_open(path) or not _is_for_reading_only(path):
            return None
        state = _state(path)
    raw = dialect.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, **options)
    record.info[_UNCHANGED] = (path, state)
    return raw


@contextmanager
def _looking_at(path: object) -> Iterator[None]:
    """Who takes away the right to look at a folder takes the database away until it is given back."""
    try:
        yield
    except PermissionError as fault:
        hint = "let the user of detector into its folder"
        raise StoreAwayError(f"database {path}: {fault.strerror}", hint=hint) from fault


def check_fresh(_raw: object, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Has a connection that was opened as one to a file that does not change opened anew, if that did."""
    if (opened := record.info.get(_UNCHANGED)) and not _is_unchanged(*opened):
        raise DisconnectionError


def check_unchanged(connection: Connection) -> None:
    """Raises StoreAwayError if what was just read of such a file may not be one state of it."""
    if (opened := connection.info.get(_UNCHANGED)) and not _is_unchanged(*opened):
        raise StoreAwayError(f"database {opened[0]}: it was changed while it was read", hint="ask again")


def _is_open(path: Path) -> bool:
    """Somebody has it open who can write, or had it when they were killed: then all that reading takes is there."""
    return Path(f"{path}-shm").exists()


def _is_for_reading_only(path: Path) -> bool:
    read, write = (
        all(os.access(each, mode, effective_ids=True) for each in (path, path.parent)) for mode in (os.R_OK, os.W_OK)
    )
    return read and not write


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _is_unchanged(path: Path, state: tuple[int, int, int]) -> bool:
    return not _is_open(path) and path.exists() and _state(path) == state


def prepare(raw: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    """Sets a new connection up; that of a file that is yet to be made decides how it is made."""
    path = raw.execute("PRAGMA database_list").fetchone()[2]
    with _looking_at(path):
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
    if _UNCHANGED not in record.info:
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
        with _looking_at(path):
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
