"""What people said of alerts: written, listed, and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, func, select

from detector.domain import Verdict
from detector.store import bulk
from detector.store.tables import alert_verdict_keys, alert_verdict_rows, alert_verdicts, alerts, hosts

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
    keys: int
    """Those behind the alert: what the models judge and learn otherwise on that account."""
    limited_keys: int
    """Those of them that were there long before: of a true alert they are told of only where they are strange."""
    rows: int
    """Rows by which forests are compared."""


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


def said_of(connection: Connection, alert_id: int) -> Verdict | None:
    """What was said of an alert; None: nothing was."""
    verdict = connection.scalar(select(alert_verdicts.c.verdict).where(alert_verdicts.c.alert_id == alert_id))
    return None if verdict is None else Verdict(verdict)


def listed(connection: Connection, host: str | None = None) -> list[Feedback]:
    """All that was said, of one host if that is asked for, the newest last."""
    statement = _said().order_by(alert_verdicts.c.at, alert_verdicts.c.alert_id)
    if host is not None:
        statement = statement.where(hosts.c.host == host)
    return [_feedback(row) for row in connection.execute(statement).mappings()]


def _said() -> Select[tuple[object, ...]]:
    told, said, keys = alerts.c, alert_verdicts.c, alert_verdict_keys.c
    of_keys = select(func.count()).where(keys.alert_id == said.alert_id)
    of_rows = select(func.count()).where(alert_verdict_rows.c.alert_id == said.alert_id)
    return (
        select(
            *(told.alert_id, hosts.c.host, told.host_id, told.rule_id, told.rule_title, told.opened_at),
            *(said.verdict, said.author, said.at, said.reason),
            of_keys.scalar_subquery().label("keys"),
            of_keys.where(keys.level > 0).scalar_subquery().label("limited_keys"),
            of_rows.scalar_subquery().label("rows"),
        )
        .join(alerts, told.alert_id == said.alert_id)
        .join(hosts, hosts.c.host_id == told.host_id)
    )


def _feedback(row: RowMapping) -> Feedback:
    return Feedback(**{**row, "verdict": Verdict(row["verdict"])})
