"""Reads alerts, the rows behind them, and what was sent of them."""

from __future__ import annotations

from dataclasses import fields
from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Select, func, select

from detector.domain import Alert, AlertState, Notification, NotificationState, Severity
from detector.store.matching import whole_rows
from detector.store.packed import read_packed
from detector.store.tables import alerts, evidence, hosts, notifications

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from typing import Any

ALERT_FIELDS = tuple(each.name for each in fields(Alert))
NOTIFICATION_FIELDS = tuple(each.name for each in fields(Notification))


def list_alerts(
    connection: Connection,
    *,
    since: datetime | None = None,
    states: Collection[AlertState] | None = None,
    host: str | None = None,
    after: int | None = None,
    limit: int = 100,
) -> list[Alert]:
    """At most `limit` alerts of all hosts, the one that was active last first.

    Args:
        since: leaves out what had ended by then.
        states: only alerts in these.
        host: only of the host with this name.
        after: only with a greater number than this.
    """
    statement = alerts_with_hosts().order_by(alerts.c.end.desc(), alerts.c.alert_id.desc()).limit(limit)
    if states is not None:
        statement = statement.where(alerts.c.state.in_([each.value for each in states]))
    if host is not None:
        statement = statement.where(hosts.c.host == host)
    if after is not None:
        statement = statement.where(alerts.c.alert_id > after)
    if since is not None:
        statement = statement.where(alerts.c.end > since)
    return [alert_from(row) for row in connection.execute(statement).mappings()]


def read_alert(connection: Connection, alert_id: int) -> Alert | None:
    """One alert; None when there is none of that number."""
    row = connection.execute(alerts_with_hosts().where(alerts.c.alert_id == alert_id)).mappings().first()
    return None if row is None else alert_from(row)


def alert_rows(connection: Connection, alert_id: int, limit: int) -> Sequence[Mapping[str, Any]]:
    """The first `limit` rows behind an alert, in the order of time.

    Rows are as `history.find` gives them. Those of snapshots that have expired are missing.
    """
    behind = connection.execute(
        select(alerts.c.host_id, hosts.c.host, evidence.c.seq, evidence.c.key_id, evidence.c.session)
        .join(alerts, alerts.c.alert_id == evidence.c.alert_id)
        .join(hosts, hosts.c.host_id == alerts.c.host_id)
        # Which are whole snapshots.
        .where(evidence.c.alert_id == alert_id, evidence.c.key_id > 0)
        .order_by(evidence.c.seq, evidence.c.key_id, evidence.c.session)
        .limit(limit)
    ).all()
    rows: list[dict[str, Any]] = []
    for (host_id, host, seq), of_snapshot in groupby(behind, key=lambda row: row[:3]):
        wanted = {(row.key_id, row.session) for row in of_snapshot}
        for snapshot in read_packed(connection, host_id, (seq, seq)):
            places = enumerate(zip(snapshot.counts["key_id"], snapshot.counts["session"], strict=True))
            found = [number for number, place in places if place in wanted]
            rows += whole_rows(connection, host_id, host, [(snapshot, found)])
    return rows


def row_count(connection: Connection, alert_id: int) -> int:
    """How many rows are behind an alert."""
    behind = select(func.count()).select_from(evidence).where(evidence.c.alert_id == alert_id, evidence.c.key_id > 0)
    return connection.scalar(behind) or 0


def places_behind(connection: Connection, alert_id: int, limit: int) -> tuple[int, list[tuple[int, int, int]]]:
    """The host of an alert, and where the first `limit` rows behind it are: snapshot, key (0: all of it), session."""
    host_id = connection.scalar(select(alerts.c.host_id).where(alerts.c.alert_id == alert_id))
    places = evidence.c.seq, evidence.c.key_id, evidence.c.session
    found = connection.execute(select(*places).where(evidence.c.alert_id == alert_id).order_by(*places).limit(limit))
    return host_id or 0, [(seq, key_id, session) for seq, key_id, session in found]


def is_about_capture(connection: Connection, alert_id: int) -> bool:
    """Whether what is behind an alert is snapshots, and not rows of them."""
    _, places = places_behind(connection, alert_id, 1)
    return any(not key_id for _, key_id, _ in places)


def notifications_of(connection: Connection, alert_id: int) -> list[Notification]:
    """What was sent of an alert, or is to be, in the order in which it was written."""
    rows = connection.execute(
        select(notifications).where(notifications.c.alert_id == alert_id).order_by(notifications.c.notification_id)
    ).mappings()
    return [notification_from(row) for row in rows]


def alert_from(row: Mapping[Any, Any]) -> Alert:
    """An alert from the columns of its table and its host's name."""
    values = {name: row[name] for name in ALERT_FIELDS}
    values["severity"], values["state"] = Severity(values["severity"]), AlertState(values["state"])
    values["explanations"] = tuple(sentence for _, sentence in values["explanations"])
    return Alert(**values)


def notification_from(row: Mapping[Any, Any]) -> Notification:
    """A notification from the columns of its table."""
    values = {name: row[name] for name in NOTIFICATION_FIELDS}
    values["state"] = NotificationState(values["state"])
    return Notification(**values)


def alerts_with_hosts() -> Select[Any]:
    """Alerts as `alert_from` reads them."""
    return select(alerts, hosts.c.host).join(hosts, hosts.c.host_id == alerts.c.host_id)
