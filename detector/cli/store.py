"""Opens the store for a verb: to read, or to write an answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from detector.amounts import numbered
from detector.cli.terminal import note
from detector.store.damage import passed_over
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import check_current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from detector.config import Settings


@contextmanager
def stored(settings: Settings) -> Iterator[Connection]:
    """One transaction that reads the configured database; a database that is not there is not made.

    Snapshots that turned out to be damaged meanwhile are told at its end, on standard error.

    Raises:
        ConfigError: the address cannot be read or understood.
        StoreError: the database is away, missing, or of another version; with the remedy.
    """
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        with reading(engine) as connection:
            yield connection
            number = passed_over(connection)
        if number:
            note(f"damaged, so that what it takes from there is left out: {numbered(number, 'snapshot')}")
    finally:
        engine.dispose()


@contextmanager
def changed(settings: Settings) -> Iterator[Connection]:
    """One transaction that writes into the configured database: all of it is kept, or nothing.

    Raises:
        ConfigError: the address cannot be read or understood.
        StoreError: the database is away, missing, of another version, or not to be written by this user.
    """
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        with writing(engine) as connection:
            yield connection
    finally:
        engine.dispose()
