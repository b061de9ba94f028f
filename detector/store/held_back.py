"""What was beyond the most alerts of a day: see `alerts.cap`. Connections, the strangest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from detector import shipped
from detector.domain import NotificationState
from detector.store.alerts import alert_from, alert_rows, alerts_with_hosts
from detector.store.tables import alerts, hosts, notices, notifications

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from detector.domain import Alert

NOTICE = "held back"
"""The kind of notice that tells of it when the day is over; its subject is the alert's number."""

MOST_ROWS = 10_000
"""The rows of an alert that are looked at; of one with more the last are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A connection that was held back, in all of one day."""

    alert: Alert
    """The one that holds all of that day and host."""
    row: Mapping[str, Any]
    """Its strangest row, as `history.find` gives it."""
    snapshots: int
    """In how many it was met."""
    connects: int
    start: datetime
    end: datetime


def held_alerts(
    connection: Connection,
    *,
    since: datetime | None = None,
    host: str | None = None,
    untold_before: datetime | None = None,
) -> list[Alert]:
    """The alerts that hold what was beyond the most of a day, the newest first.

    Args:
        connection: the transaction.
        since: leaves out what had ended by then.
        host: only of the host with this name.
        untold_before: only those that ended before then, and of which no notice was written.
    """
    columns = alerts.c
    statement = alerts_with_hosts().where(columns.fingerprint.startswith(shipped.HELD_BACK))
    if since is not None:
        statement = statement.where(columns.end > since)
    if host is not None:
        statement = statement.where(hosts.c.host == host)
    found = [alert_from(row) for row in connection.execute(statement.order_by(columns.end.desc())).mappings()]
    if untold_before is None:
        return found
    told = set(connection.scalars(select(notices.c.subject).where(notices.c.kind == NOTICE)))
    return [each for each in found if each.end < untold_before and str(each.alert_id) not in told]


def held_back(connection: Connection, held: Sequence[Alert]) -> list[HeldBack]:
    """What alerts hold, the strangest first; rows that have expired are missing."""
    found: list[HeldBack] = []
    for alert in held:
        by_key: dict[int, list[Mapping[str, Any]]] = {}
        for row in alert_rows(connection, alert.alert_id, MOST_ROWS):
            by_key.setdefault(row["key_id"], []).append(row)
        found += [
            HeldBack(
                alert=alert,
                row=max(rows, key=_surprise),
                snapshots=len(rows),
                connects=sum(row["attempted"] or row["established"] for row in rows),
                start=rows[0]["start"],
                end=rows[-1]["end"],
            )
            for rows in by_key.values()
        ]
    return sorted(found, key=lambda each: (-_surprise(each.row), each.start, each.row["key_id"]))


def told_to(connection: Connection, alert_id: int) -> list[str]:
    """The channels by which an alert was told, or is to be."""
    columns = notifications.c
    told = select(columns.channel).where(
        columns.alert_id == alert_id, columns.state != NotificationState.WITHHELD.value
    )
    return sorted(set(connection.scalars(told)))


def _surprise(row: Mapping[str, Any]) -> float:
    return row["surprise"] or 0.0
