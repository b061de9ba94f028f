"""What databases complain of, by kind: away, damaged, or a mistake of ours."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from detector.errors import StoreAwayError, StoreDamagedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.exc import DBAPIError

SQLITE_BUSY_SECONDS = 30.0
"""How long SQLite's lock is waited for."""
# SQLITE_CORRUPT and SQLITE_NOTADB of sqlite3.h; SQLITE_ERROR is what a file without content gives: "no such table".
_DAMAGED, _ERROR = frozenset({11, 26}), 1
_DAMAGED_HINT = "a running collect or detect sets the file aside and makes a new one; so does `detector run`"
_HINTS = {
    "attempt to write a readonly database": "this user may only read it: run this as root, or as the file's owner",
    "database is locked": f"another process has been writing for {SQLITE_BUSY_SECONDS:.0f} s: see who holds the file",
}
_FILE_HINTS = {
    "database or disk is full": "make room on its disk, or lower retention.sqlite_megabytes",
    # What SQLite makes beside the file finds no room, too.
    "disk I/O error": "make room if its disk is full (df); else see what the kernel says of the disk: dmesg",
    "unable to open database file": "see that this user may write to the file and its folder, and that there is room",
}
_SERVER_HINT = "see that the server runs, that this machine reaches it, and that the login in database.url is right"


def named(fault: DBAPIError, where: str, path: Path | None, inode: int | None) -> StoreError:
    """A driver's complaint as one of ours.

    Args:
        fault: what the driver says.
        where: the database is, without anything that might be secret.
        path: of an SQLite database.
        inode: of the file that was open there, if it is known.
    """
    reason = first_line(fault.orig)
    message = f"database {where}: {reason}"
    if path is not None and _is_damaged(fault, path):
        return StoreDamagedError(message, hint=_DAMAGED_HINT, inode=inode)
    # A key that is there already: a host has one writer, so it met what it wrote itself as the connection broke.
    away = fault.connection_invalidated or isinstance(fault, OperationalError | InterfaceError | IntegrityError)
    # What the server itself complains of has a code; what keeps from it has none.
    unreached = path is None and getattr(fault.orig, "sqlstate", None) is None
    hint = remedy(reason, _SERVER_HINT if unreached else _FILE_HINTS.get(reason, ""))
    return (StoreAwayError if away else StoreError)(message, hint=hint)


def remedy(reason: str, otherwise: str) -> str:
    """What to do about what a driver says."""
    return _HINTS.get(reason, otherwise)


def is_no_text(fault: DBAPIError) -> bool:
    """Whether something else stands where text does: SQLite takes any bytes for it, and its driver does not."""
    return first_line(fault.orig).startswith("Could not decode to UTF-8")


def _is_damaged(fault: DBAPIError, path: Path) -> bool:
    """Whether SQLite's file is beyond use: neither locked, nor unreadable, nor on a disk that is full."""
    code = getattr(fault.orig, "sqlite_errorcode", None)
    if code is None:
        return False
    # The extended codes have the reason in their higher bytes.
    return code & 0xFF in _DAMAGED or (code == _ERROR and _is_emptied(path))


def _is_emptied(path: Path) -> bool:
    """A file that was cut to nothing is a database without tables to SQLite."""
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as raw:
            (tables,) = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return False
    return bool(tables == 0)


def first_line(fault: BaseException | None) -> str:
    """The first line of an exception's text; drivers put the statement and its parameters on later lines."""
    return (str(fault).splitlines() or [type(fault).__name__])[0]
