"""Deletes what was noted for rules that are not there any more; should one come back, it is made anew of the days."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select, tuple_

from detector.store.engine import writing
from detector.store.tables import detection_cursors, noted_fields, seen_terms, snapshots

if TYPE_CHECKING:
    from sqlalchemy import Engine

UNUSED = timedelta(days=2)
"""So long after a host's last snapshot that was noted nobody asks for it any more. While a rule does, each one is."""


def forget_unused(engine: Engine, host_id: int, *, limit: int) -> int:
    """Deletes up to so many combinations of fields of which no rule asks what is new on a host; returns how many.

    Raises:
        StoreError: the database is away.
    """
    noted, seen, there = noted_fields.c, seen_terms.c, snapshots.c
    with writing(engine) as connection:
        # Held, so that no rule comes into force meanwhile.
        cursor = select(detection_cursors.c.seq).where(detection_cursors.c.host_id == host_id).with_for_update()
        seq = connection.scalar(cursor) or 0
        at = connection.scalar(select(there.end).where(there.host_id == host_id, there.seq == seq))
        if at is None:
            return 0
        of_late = exists().where(there.host_id == host_id, there.seq == noted.last_seq, there.end > at - UNUSED)
        connection.execute(delete(noted_fields).where(noted.host_id == host_id, noted.last_seq < seq, ~of_late))
        used = select(noted.fields).where(noted.host_id == host_id)
        keys = (seen.fields, seen.terms, seen.day)
        some = connection.execute(
            select(*keys).where(seen.host_id == host_id, seen.fields.not_in(used)).limit(limit)
        ).all()
        if some:
            connection.execute(
                delete(seen_terms).where(seen.host_id == host_id, tuple_(*keys).in_([tuple(row) for row in some]))
            )
    return len(some)
