"""What retention would delete by age, without deleting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.store import expiry, old_alerts
from detector.store.engine import reading
from detector.store.retention import SNAPSHOTS
from detector.store.tables import daily_counts, hourly_counts

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from detector.store.retention import Kept


def would_go(engine: Engine, kept: Kept, now: datetime) -> dict[str, int]:
    """How many snapshots, rows of roll-ups and alerts have expired, by what they are called.

    What was seen but not added up yet is among them: that comes first. On Postgres what is in a part goes as a whole,
    when all of it has expired.

    Raises:
        StoreError: the database is away.
    """
    found = {SNAPSHOTS: 0}
    with reading(engine) as connection:
        before = now - kept.snapshots
        for state in expiry.host_states(connection):
            if not expiry.kept_as_imported(connection, state.host_id, before):
                upto = min(state.seen, state.newest - 1)
                found[SNAPSHOTS] += expiry.waits(connection, state.host_id, before=before, upto=upto)
        for table, age in ((hourly_counts, kept.hours), (daily_counts, kept.days)):
            old = select(func.count()).select_from(table).where(table.c.start < now - age)
            found[table.name] = connection.scalar(old) or 0
        found["alerts"] = old_alerts.waits(connection, before=now - kept.alerts)
    return found
