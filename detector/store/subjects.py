"""Forgets what the models know of destinations that were met once, when there is no room for it any more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from detector.store.engine import reading, writing
from detector.store.tables import model_hosts, model_subjects

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Of a single destination, of which a scan has millions. The others are few.
_OF_ONE_DESTINATION = (
    *("pair", "destination", "network", "user_network"),
    *("user_destination", "executable_network", "executable_destination"),
)


def observed(engine: Engine, host_id: int) -> timedelta:
    """For how long the models have watched a host.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        seconds = connection.scalar(select(model_hosts.c.observed_seconds).where(model_hosts.c.host_id == host_id))
    return timedelta(seconds=seconds or 0.0)


def forget_met_once(
    engine: Engine, host_id: int, *, older: timedelta, after: bytes, limit: int
) -> tuple[int, bytes | None]:
    """Deletes, of up to so many subjects of a host that come after one, those that were met in one observed hour alone.

    Should they be met again, they are new.

    Args:
        engine: the database.
        host_id: whose.
        older: since they were first met, in observed time.
        after: the last one that was looked at; empty: none was.
        limit: how many are looked at.

    Returns:
        How many were deleted, and the last one that was looked at; None: that was all.

    Raises:
        StoreError: the database is away.
    """
    columns = model_subjects.c
    with writing(engine) as connection:
        seconds = connection.scalar(select(model_hosts.c.observed_seconds).where(model_hosts.c.host_id == host_id))
        rows = connection.execute(
            select(columns.subject, columns.kind, columns.hours, columns.first_seconds)
            .where(columns.host_id == host_id, columns.subject > after)
            .order_by(columns.subject)
            .limit(limit)
        ).all()
        if not rows or seconds is None:
            return 0, None
        until = seconds - older.total_seconds()
        once = [
            row.subject
            for row in rows
            if row.hours <= 1 and row.first_seconds < until and row.kind in _OF_ONE_DESTINATION
        ]
        if once:
            connection.execute(delete(model_subjects).where(columns.host_id == host_id, columns.subject.in_(once)))
    return len(once), bytes(rows[-1].subject)
