"""Sets a damaged SQLite database aside, and puts a new one in its place: `python -m detector.store.replacement`.

Nothing is deleted: the old file stays beside the new one, with the time in its name, for `sqlite3 FILE .recover`.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert

from detector.errors import DetectorError, StoreError
from detector.store.engine import database_file, open_store, writing
from detector.store.migrating import upgrade
from detector.store.tables import replacements

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT = "%Y%m%dT%H%M%SZ"
_ASIDE, _NEW = ".damaged-", ".new"
# SQLite's own, beside the database.
_COMPANIONS = ("-wal", "-shm")
# On a disk that damages whatever is written, a new database each time would fill it.
_SELDOM = timedelta(minutes=1)


def replace_damaged(url: str, *, inode: int | None, reason: str, now: datetime) -> Path | None:
    """Sets the database at `url` aside and puts a new, empty one of the current schema in its place, which says so.

    Args:
        url: of an SQLite database.
        inode: of the file that is damaged; None: of the one that is there.
        reason: what SQLite says of it.
        now: the time.

    Returns:
        Where the damaged one is; None if nothing was done: another process had replaced it meanwhile, or less than a
        minute ago.

    Raises:
        StoreError: the files cannot be moved or made.
    """
    path = database_file(open_store(url))
    if path is None:
        raise StoreError("only a database in a file can be set aside")
    path = path.resolve()
    try:
        with _alone(path.parent):
            there = path.stat()
            if (inode is not None and there.st_ino != inode) or _was_replaced(path, now):
                return None
            aside = path.with_name(f"{path.name}{_ASIDE}{now:{_AT}}")
            new = path.with_name(path.name + _NEW)
            _make(new, aside, reason, now)
            _belong_alike(new, there)
            # The old one has two names for a moment, so that there is one at any time.
            os.link(path, aside)
            for ending in _COMPANIONS:
                with suppress(FileNotFoundError):
                    Path(f"{path}{ending}").rename(f"{aside}{ending}")
            new.replace(path)
    except OSError as fault:
        message = f"{path}: it could not be replaced: {fault.strerror}"
        raise StoreError(message, hint="make room, or move it away") from fault
    return aside


def _make(new: Path, aside: Path, reason: str, now: datetime) -> None:
    for leftover in (new, *(Path(f"{new}{ending}") for ending in _COMPANIONS)):
        leftover.unlink(missing_ok=True)
    engine = open_store(f"sqlite:///{new}")
    try:
        upgrade(engine)
        with writing(engine) as connection:
            connection.execute(insert(replacements).values(replaced_at=now, set_aside=str(aside), reason=reason))
    finally:
        # With the last connection SQLite's companions go too.
        engine.dispose()


def _belong_alike(new: Path, old: os.stat_result) -> None:
    new.chmod(old.st_mode & 0o777)
    made = new.stat()
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        # Of another user's file only the group may be ours to give.
        with suppress(PermissionError):
            os.chown(new, -1, old.st_gid)
        with suppress(PermissionError):
            os.chown(new, old.st_uid, -1)


def _was_replaced(path: Path, now: datetime) -> bool:
    """Within the last minute."""
    for other in path.parent.glob(f"{path.name}{_ASIDE}*"):
        with suppress(ValueError):
            at = datetime.strptime(other.name.rpartition(_ASIDE)[2], _AT).replace(tzinfo=UTC)
            # Whichever way the clock was set since.
            if abs(now - at) < _SELDOM:
                return True
    return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of two processes that notice at once, one does it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.fsync(lock)
    finally:
        os.close(lock)


def main() -> int:
    """Does what standard input asks for in JSON: `url`, `inode`, `reason`. Prints what came of it, in a phrase."""
    wanted = json.load(sys.stdin)
    try:
        aside = replace_damaged(wanted["url"], inode=wanted["inode"], reason=wanted["reason"], now=datetime.now(UTC))
    except DetectorError as fault:
        sys.stderr.write(f"{fault.message}\n")
        return fault.exit_code
    done = f"it was set aside as {aside}, and a new one is in its place" if aside else "it was replaced a moment ago"
    sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
