"""Which detectors work on this database: each says so now and then, and takes its leave when it ends in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from detector.store import bulk
from detector.store.columns import storable
from detector.store.tables import detectors

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def seen(connection: Connection) -> dict[str, datetime]:
    """When each detector was seen last, by its name and its own clock; those that have taken leave are missing."""
    return {row.name: row.seen_at for row in connection.execute(select(detectors.c.name, detectors.c.seen_at))}


def note(connection: Connection, name: str, now: datetime) -> None:
    """Says that a detector works."""
    bulk.upsert(connection, detectors, ("name", "seen_at"), [(storable(name), now)])


def leave(connection: Connection, name: str) -> None:
    """Says that a detector works no more."""
    connection.execute(delete(detectors).where(detectors.c.name == storable(name)))
