"""Of several workers on one database, one at a time looks after it, or makes a digest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.store.engine import reading, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

# Of Postgres' advisory locks, so that they are no other program's: "dtkp" and "dtdg".
KEEPING, DIGESTS = 0x6474_6B70, 0x6474_6467


@contextmanager
def turn(engine: Engine, what: int = KEEPING) -> Iterator[bool]:
    """Whether it is ours to look after the database, or to do whatever else; nobody else has the turn meanwhile.

    On SQLite there is one worker, and who prunes by hand at the same time does no harm.

    Raises:
        StoreError: the database is away.
    """
    if engine.dialect.name != "postgresql":
        yield True
        return
    # For the transaction, not for the session, which a connection pooler in between may hand to others. It sees no
    # state of the database while it lasts, so that vacuum does not wait for it.
    with writing(engine) as connection:
        yield bool(connection.scalar(select(func.pg_try_advisory_xact_lock(what))))


def hosts_with_cursor(engine: Engine) -> list[int]:
    """The hosts that detection looks at.

    Raises:
        StoreError: the database is away.
    """
    from detector.store.tables import detection_cursors

    with reading(engine) as connection:
        return list(connection.scalars(select(detection_cursors.c.host_id).order_by(detection_cursors.c.host_id)))
