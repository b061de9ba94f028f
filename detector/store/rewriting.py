"""Writes all of a database anew, which gives back all that is free."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sqlalchemy import text

from detector.errors import StoreError
from detector.store.engine import database_file, outside
from detector.store.sizes import measure
from detector.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Engine


def room_needed(engine: Engine) -> int:
    """What rewriting an SQLite file takes of the disk meanwhile, in bytes: a copy, and as much in the log.

    Raises:
        StoreError: the database is away.
    """
    return 2 * measure(engine).used


def rewrite(engine: Engine) -> None:
    """Rewrites SQLite's file: it is as small as it can be, and can give back what becomes free step by step.

    Nobody can write meanwhile.

    Raises:
        StoreError: there is no room for it on the disk; or the database is away, or somebody uses it for too long.
    """
    path = database_file(engine)
    needed = room_needed(engine)
    if path is not None and (free := shutil.disk_usage(path.parent).free) < needed:
        raise StoreError(
            f"{path}: rewriting it takes {needed / 1e6:,.0f} MB of the disk meanwhile, {free / 1e6:,.0f} MB are free",
            hint="make room, or delete what is old first: detector db prune",
        )
    with outside(engine) as connection:
        connection.exec_driver_sql("PRAGMA auto_vacuum=INCREMENTAL")
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def vacuum_tables(engine: Engine) -> None:
    """Lets Postgres use again what was deleted of all tables, while others read and write.

    Raises:
        StoreError: the database is away.
    """
    with outside(engine) as connection:
        for name in metadata.tables:
            connection.execute(text(f"VACUUM (ANALYZE) {name}"))
