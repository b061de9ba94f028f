"""Deletes what was added up by hour and by day when it has expired, key by key, since that is how it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from detector.store.engine import reading, writing
from detector.store.tables import connection_keys

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine, Table


@dataclass(frozen=True, slots=True)
class Swept:
    """What one step of a sweep did."""

    deleted: int
    after: int | None
    """The last key that was looked at; None: that was all."""


def sweep(engine: Engine, table: Table, host_id: int, *, before: datetime, after: int, keys: int) -> Swept:
    """Deletes what began before a moment, of up to so many keys of a host that come after one.

    Raises:
        StoreError: the database is away.
    """
    of_host = connection_keys.c.host_id == host_id
    with writing(engine) as connection:
        some = list(
            connection.scalars(
                select(connection_keys.c.key_id)
                .where(of_host, connection_keys.c.key_id > after)
                .order_by(connection_keys.c.key_id)
                .limit(keys)
            )
        )
        if not some:
            return Swept(0, None)
        # Each key's rows stand together, in the order of time.
        gone = connection.execute(
            delete(table).where(table.c.host_id == host_id, table.c.key_id.in_(some), table.c.start < before)
        )
    return Swept(gone.rowcount, some[-1])


def first_start(engine: Engine, table: Table, host_id: int) -> datetime | None:
    """Before this a roll-up has nothing of a host: when its first key that is left was first seen.

    None: it has nothing at all.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        if connection.scalar(select(table.c.key_id).where(table.c.host_id == host_id).limit(1)) is None:
            return None
        first: datetime | None = connection.scalar(
            select(func.min(connection_keys.c.first_seen)).where(connection_keys.c.host_id == host_id)
        )
    return first
