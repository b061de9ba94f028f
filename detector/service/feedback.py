"""Takes a person's word on an alert, with all that follows from it, and takes it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.domain import Verdict
from detector.models import feedback as models
from detector.store import feedback as store
from detector.store.alerts import places_behind, read_alert
from detector.store.behind import keys_behind, newest_rows

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

# Rows of one alert that forests are compared by: all alerts are to count.
_ROWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a word."""

    verdict: Verdict
    keys: int
    """What it is about: how many keys."""


def record(
    connection: Connection, alert_id: int, verdict: Verdict, *, author: str, reason: str = "", now: datetime
) -> Taken | None:
    """Keeps what a person says of an alert, in place of what was said before.

    Args:
        connection: a transaction that writes.
        alert_id: the alert.
        verdict: what it was.
        author: who says so.
        reason: why; may be empty.
        now: when.

    Returns:
        What it is about; None: there is no such alert.
    """
    alert = read_alert(connection, alert_id)
    if alert is None:
        return None
    before = store.said_of(connection, alert_id)
    if before is not None and before is not verdict:
        undo(connection, alert_id)
    store.record(connection, alert_id, verdict, author=author, reason=reason, now=now)
    host_id, _ = places_behind(connection, alert_id, 0)
    # Said once more, it is about what came to the alert since, too; what was kept before anything was learnt stays.
    if verdict is Verdict.BENIGN:
        models.keep_subjects(connection, alert_id, host_id, keys_behind(connection, alert_id, host_id))
    if before is not verdict:
        models.keep_rows(connection, alert_id, host_id, newest_rows(connection, alert, host_id, _ROWS))
    return Taken(verdict=verdict, keys=models.keep_keys(connection, alert_id, host_id, verdict))


def undo(connection: Connection, alert_id: int) -> Taken | None:
    """Takes back what was said of an alert, and what was learnt of it; None: nothing was said."""
    verdict = store.said_of(connection, alert_id)
    if verdict is None:
        return None
    host_id, _ = places_behind(connection, alert_id, 0)
    keys = models.unlearn(connection, alert_id, host_id)
    store.undo(connection, alert_id)
    return Taken(verdict=verdict, keys=keys)
