"""Reads alerts, the rows behind them, and what was sent of them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Select, and_, select

from detector.domain import Alert, Notification, NotificationState, Severity
from detector.store.rows import ROW_COLUMNS, with_names
from detector.store.tables import alerts, connection_counts, evidence, hosts, notifications, observations, snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    from sqlalchemy import RowMapping

_ALERT_FIELDS = tuple(each.name for each in fields(Alert))
_NOTIFICATION_FIELDS = tuple(each.name for each in fields(Notification))


def list_alerts(connection: Connection, *, since: datetime | None = None, limit: int = 100) -> list[Alert]:
    """At most `limit` alerts of all hosts, the one that was active last first.

    Args:
        since: leaves out what had ended by then.
    """
    statement = _alerts().order_by(alerts.c.end.desc(), alerts.c.alert_id.desc()).limit(limit)
    if since is not None:
        statement = statement.where(alerts.c.end > since)
    return [alert_from(row) for row in connection.execute(statement).mappings()]


def read_alert(connection: Connection, alert_id: int) -> Alert | None:
    """One alert; None when there is none of that number."""
    row = connection.execute(_alerts().where(alerts.c.alert_id == alert_id)).mappings().first()
    return None if row is None else alert_from(row)


def alert_rows(connection: Connection, alert_id: int, limit: int) -> Sequence[RowMapping]:
    """The first `limit` rows behind an alert, in the order of time.

    Rows have `host`, `start` and `end` of their snapshot, the columns of `rows.ROW_COLUMNS`, and those of observations.
    """
    shown = [
        hosts.c.host,
        snapshots.c.start,
        snapshots.c.end,
        *ROW_COLUMNS,
        *(column for column in observations.c if column.name not in connection_counts.c),
    ]
    counts = connection_counts.c
    behind = (
        select(*shown)
        .select_from(evidence)
        .join(alerts, alerts.c.alert_id == evidence.c.alert_id)
        .join(hosts, hosts.c.host_id == alerts.c.host_id)
        .join(
            connection_counts,
            and_(
                counts.host_id == alerts.c.host_id,
                counts.seq == evidence.c.seq,
                counts.key_id == evidence.c.key_id,
                counts.session == evidence.c.session,
            ),
        )
        .join(snapshots, and_(snapshots.c.host_id == counts.host_id, snapshots.c.seq == counts.seq))
    )
    statement = (
        with_names(behind)
        .outerjoin(
            observations,
            and_(
                observations.c.host_id == counts.host_id,
                observations.c.seq == counts.seq,
                observations.c.key_id == counts.key_id,
                observations.c.session == counts.session,
            ),
        )
        .where(evidence.c.alert_id == alert_id)
        .order_by(evidence.c.seq, evidence.c.key_id, evidence.c.session)
        .limit(limit)
    )
    return connection.execute(statement).mappings().all()


def notifications_of(connection: Connection, alert_id: int) -> list[Notification]:
    """What was sent of an alert, or is to be, in the order in which it was written."""
    rows = connection.execute(
        select(notifications).where(notifications.c.alert_id == alert_id).order_by(notifications.c.notification_id)
    ).mappings()
    return [notification_from(row) for row in rows]


def alert_from(row: RowMapping) -> Alert:
    """An alert from the columns of its table and its host's name."""
    values = {name: row[name] for name in _ALERT_FIELDS}
    values["severity"] = Severity(values["severity"])
    values["explanations"] = tuple(sentence for _, sentence in values["explanations"])
    return Alert(**values)


def notification_from(row: RowMapping) -> Notification:
    """A notification from the columns of its table."""
    values = {name: row[name] for name in _NOTIFICATION_FIELDS}
    values["state"] = NotificationState(values["state"])
    return Notification(**values)


def _alerts() -> Select[Any]:
    return select(alerts, hosts.c.host).join(hosts, hosts.c.host_id == alerts.c.host_id)
