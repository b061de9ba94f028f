"""What people said of alerts: written, listed, and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, select

from detector.domain import Verdict
from detector.store import bulk
from detector.store.tables import alert_verdicts, alerts, hosts

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.engine import RowMapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a person said of one alert."""

    alert_id: int
    host: str
    host_id: int
    rule_id: str
    rule_title: str
    opened_at: datetime
    verdict: Verdict
    author: str
    at: datetime
    reason: str


def record(
    connection: Connection, alert_id: int, verdict: Verdict, *, author: str, reason: str = "", now: datetime
) -> bool:
    """Writes what a person said of an alert, in place of what was said before; False when there is no such alert."""
    if connection.scalar(select(alerts.c.alert_id).where(alerts.c.alert_id == alert_id)) is None:
        return False
    values = {"alert_id": alert_id, "verdict": verdict.value, "author": author, "at": now, "reason": reason}
    bulk.upsert(connection, alert_verdicts, tuple(values), [tuple(values.values())])
    return True


def undo(connection: Connection, alert_id: int) -> bool:
    """Takes back what was said of an alert; False when nothing was."""
    return bool(connection.execute(delete(alert_verdicts).where(alert_verdicts.c.alert_id == alert_id)).rowcount)


def listed(connection: Connection, host: str | None = None) -> list[Feedback]:
    """All that was said, of one host if that is asked for, the newest last."""
    statement = _said().order_by(alert_verdicts.c.at, alert_verdicts.c.alert_id)
    if host is not None:
        statement = statement.where(hosts.c.host == host)
    return [_feedback(row) for row in connection.execute(statement).mappings()]


def _said() -> Select[tuple[object, ...]]:
    told, said = alerts.c, alert_verdicts.c
    return (
        select(
            *(told.alert_id, hosts.c.host, told.host_id, told.rule_id, told.rule_title, told.opened_at),
            *(said.verdict, said.author, said.at, said.reason),
        )
        .join(alerts, told.alert_id == said.alert_id)
        .join(hosts, hosts.c.host_id == told.host_id)
    )


def _feedback(row: RowMapping) -> Feedback:
    return Feedback(**{**row, "verdict": Verdict(row["verdict"])})
