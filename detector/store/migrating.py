"""Brings the schema to a revision by Alembic, and says whether it is the one that this program was written for."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, func, inspect, select

from detector import shipped
from detector.account import STATE_MODE, belong_to_folder
from detector.errors import StoreError
from detector.store.engine import database_file, reading, transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Of Postgres' advisory locks, so that it is no other program's: "dtmg".
_MIGRATING = 0x6474_6D67
# Alembic's own record of what it has done.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32)))


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Brings the schema to the newest revision; returns the revision before (None: empty) and after.

    Of several that do so at once, one does it and the others find it done.

    Raises:
        StoreError: the database is away, or newer than this program.
    """
    from alembic import command

    _make_folder(engine)
    return _migrate(engine, lambda config: command.upgrade(config, "head"))


def downgrade(engine: Engine, revision: str) -> tuple[str | None, str]:
    """Takes the schema back to an older `revision`; returns the revision before and after.

    What the older schema has no room for is lost: see the `downgrade` of each migration.

    Raises:
        StoreError: the database is away, missing, newer than this program, or not as new as `revision`.
    """
    from alembic import command

    _check_there(engine)
    if revision not in revisions():
        raise StoreError(f"there is no schema {revision}", hint=f"there are: {', '.join(revisions())}")

    def take_back(config: Any) -> None:
        before = _revision(config.attributes["connection"])
        if before is None or before < revision:
            raise StoreError(f"the database's schema is {before or 'empty'}, which is older than {revision}")
        command.downgrade(config, revision)

    return _migrate(engine, take_back)


def _migrate(engine: Engine, move: Callable[[Any], None]) -> tuple[str | None, str]:
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")).replace("%", "%%"))
    with transaction(engine, detector_writes=True, detector_migrates=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
        before = _revision(connection)
        if before is not None and before not in revisions():
            raise _too_new(before)
        config.attributes["connection"] = connection
        try:
            move(config)
        except CommandError as fault:
            raise _too_new(before) from fault
        after = _revision(connection)
    return before, str(after)


def _revision(connection: Connection) -> str | None:
    made = inspect(connection).has_table(_version.name)
    return connection.scalar(select(_version.c.version_num)) if made else None


def check_current(engine: Engine) -> None:
    """Raises StoreError when the schema is not the one this program was written for, with the remedy.

    Without Alembic, whose 10 MB a collector would hold for nothing.
    """
    _check_there(engine)
    with reading(engine) as connection:
        current = _revision(connection)
    *older, newest = revisions()
    if current == newest:
        return
    if current is not None and current not in older:
        raise _too_new(current)
    raise StoreError(
        f"the database's schema is {current or 'empty'}, this version needs {newest}", hint="run: detector db upgrade"
    )


def is_older(engine: Engine) -> bool:
    """Whether `upgrade` would change what is stored; not if there is nothing yet.

    Raises:
        StoreError: the database is away.
    """
    path = database_file(engine)
    if path is not None and not path.exists():
        return False
    with reading(engine) as connection:
        current = _revision(connection)
    return current is not None and current in revisions()[:-1]


def revisions() -> list[str]:
    """The revisions of the schema, the newest last: the first part of the names of the migrations' files."""
    files = (shipped.folder("migrations") / "versions").glob("[0-9]*.py")
    return sorted(path.name.partition("_")[0] for path in files)


def _too_new(revision: str | None) -> StoreError:
    return StoreError(
        f"the database's schema, {revision}, is not known to this version",
        hint="run the version of detector that made it, or a newer one",
    )


def _check_there(engine: Engine) -> None:
    """SQLite would make a file that is missing, with nothing in it."""
    path = database_file(engine)
    try:
        missing = path is not None and not path.exists()
    except OSError as fault:
        hint = "run as root, or as a member of the group that its folder belongs to"
        raise StoreError(f"{path}: {fault.strerror}", hint=hint) from fault
    if missing:
        raise StoreError(f"there is no database at {path}", hint="run: detector db upgrade")


def _letting_in(path: Path) -> str:
    """What to do about a file that this user may not open."""
    with suppress(OSError):
        if path.parent.stat().st_uid == os.geteuid() != path.stat().st_uid:
            # As a rule a copy that root put back.
            return f"as root, give it to the owner of its folder: chown --reference={path.parent} {path}"
    return "run this as root, or as the file's owner; or choose another place under [database] url"


def _make_folder(engine: Engine) -> None:
    path = database_file(engine)
    if path is None:
        return
    try:
        path.parent.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
        is_new = not path.exists()
        # Created before SQLite does, so that it is never readable by others, whatever the umask.
        path.touch(mode=0o640, exist_ok=True)
        if is_new:
            # Root may have made it for a service that is not root's.
            belong_to_folder(path)
    except FileExistsError as fault:
        raise StoreError(f"{path.parent} is not a folder", hint="choose another place under [database] url") from fault
    except PermissionError as fault:
        raise StoreError(f"{path}: {fault.strerror}", hint=_letting_in(path)) from fault
    except OSError as fault:
        raise StoreError(f"{path}: {fault.strerror}", hint="choose another place under [database] url") from fault
