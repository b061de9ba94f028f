"""What people say of alerts: written whole, with who and when, while detection waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select, update

from detector.domain import AlertState
from detector.store.columns import storable
from detector.store.tables import alert_events, alerts

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from sqlalchemy import Row

ACKNOWLEDGED, RESOLVED, NOTE, SILENCED, BENIGN = "acknowledged", "resolved", "note", "silenced", "benign"


def acknowledge(connection: Connection, alert_id: int, *, author: str, said: str, now: datetime) -> str | None:
    """Notes that somebody looks after an alert; None: nothing was to be done, else why nothing was.

    Args:
        connection: a transaction that writes.
        author: who.
        said: what they add; may be empty.
        now: by the clock of whoever says it.
    """
    alert = _held(connection, alert_id)
    if alert.acknowledged_by is not None:
        return f"{alert.acknowledged_by} has acknowledged it already"
    if alert.state == AlertState.RESOLVED:
        return "it is resolved"
    _set(connection, alert_id, acknowledged_at=now, acknowledged_by=storable(author))
    add_event(connection, alert_id, ACKNOWLEDGED, author=author, said=said, now=now)
    return None


def resolve(connection: Connection, alert_id: int, *, author: str, said: str, now: datetime) -> str | None:
    """Notes that an alert is over, as `acknowledge` does."""
    alert = _held(connection, alert_id)
    if alert.state == AlertState.RESOLVED:
        return "it is resolved already" + (f", by {alert.resolved_by}" if alert.resolved_by is not None else "")
    _set(connection, alert_id, state=AlertState.RESOLVED.value, resolved_at=now, resolved_by=storable(author))
    add_event(connection, alert_id, RESOLVED, author=author, said=said, now=now)
    return None


def add_event(connection: Connection, alert_id: int, kind: str, *, author: str, said: str, now: datetime) -> None:
    """Keeps what somebody said or did of an alert."""
    values = {"author": storable(author), "said": storable(said)}
    connection.execute(insert(alert_events).values(alert_id=alert_id, at=now, kind=kind, **values))


def _held(connection: Connection, alert_id: int) -> Row[Any, Any, Any]:
    """An alert that is there; detection does not change it meanwhile."""
    columns = alerts.c
    return connection.execute(
        select(columns.state, columns.acknowledged_by, columns.resolved_by)
        .where(columns.alert_id == alert_id)
        .with_for_update()
    ).one()


def _set(connection: Connection, alert_id: int, **values: Any) -> None:
    connection.execute(update(alerts).where(alerts.c.alert_id == alert_id).values(**values))
