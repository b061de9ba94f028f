"""Copies an SQLite database while it is in use: what is copied is one state of it, and nobody waits for that."""

from __future__ import annotations

import os
import shutil
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import StoreError
from detector.store.engine import database_file
from detector.store.faults import remedy

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

# So often it is said how far it is: 8 MB.
_PAGES_AT_ONCE = 2000
_MODE = 0o600


def backup(engine: Engine, target: Path, *, replace: bool, progress: Callable[[int, int], None]) -> int:
    """Copies the database to a file that only its owner can read; returns its size in bytes.

    It appears under its name when it is whole; until then, and after a fault, there is nothing new there.

    Args:
        engine: of an SQLite database, of whatever schema.
        target: the file.
        replace: whether a file that is there may be replaced.
        progress: told how many pages are left, and how many there are.

    Raises:
        StoreError: there is a file already, no room for it, or it cannot be written; or the database is away.
    """
    import sqlite3

    source = database_file(engine)
    if source is None:
        raise StoreError("only a database in a file can be copied")
    if target.exists() and not replace:
        raise StoreError(f"{target} is there already", hint="name another file, or replace it: --force")
    if target.exists() and target.samefile(source):
        raise StoreError(f"{target} is the database itself", hint="name another file")
    try:
        _check_room(source, target)
        with _partial(target) as partial:
            with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(partial)) as copy:
                _copy(original, copy, progress)
            size = partial.stat().st_size
            if replace:
                partial.replace(target)
            else:
                # Whatever came there meanwhile is not replaced.
                os.link(partial, target)
    except FileExistsError as fault:
        raise StoreError(f"{target} is there already", hint="name another file") from fault
    except OSError as fault:
        raise StoreError(f"{target}: {fault.strerror}", hint="name a file where this user may write") from fault
    except sqlite3.Error as fault:
        hint = remedy(str(fault), "nothing was written there; make room, and do it again")
        raise StoreError(f"{target}: {fault}", hint=hint) from fault
    return size


def _copy(original: sqlite3.Connection, copy: sqlite3.Connection, progress: Callable[[int, int], None]) -> None:
    # One state of it for as long as it takes: else it would begin anew whenever somebody writes.
    original.isolation_level = None
    original.execute("BEGIN")
    original.execute("SELECT count(*) FROM sqlite_master").fetchone()
    copy.execute("PRAGMA synchronous=FULL")
    original.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _, left, total: progress(left, total), sleep=0)
    # One file, without a log beside it.
    copy.execute("PRAGMA journal_mode=DELETE")


def _check_room(source: Path, target: Path) -> None:
    needed, free = source.stat().st_size, shutil.disk_usage(target.absolute().parent).free
    if free < needed:
        raise StoreError(
            f"{target}: {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free", hint="name another disk"
        )


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A file beside the target that is gone in the end, unless it has become the target."""
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _MODE))
    try:
        yield partial
    finally:
        for ending in ("", "-journal", "-wal", "-shm"):
            Path(f"{partial}{ending}").unlink(missing_ok=True)
