"""What stands behind a message about an alert: who it is about, what they do otherwise, and what its rule has said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import Verdict
from detector.store.tables import alert_verdicts, alerts, hosts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    """How a rule did on a host."""

    alerts: int
    benign: int
    """So many of them a person has called false."""
    true: int


def sole_values(connection: Connection, alert_id: int) -> Mapping[str, str]:
    """What all rows of an alert have in common, as far as it is known, by field."""
    common = connection.scalar(select(alerts.c.common).where(alerts.c.alert_id == alert_id)) or {}
    return {field: value for field, value in common.items() if value is not None}


def rule_record(
    connection: Connection, rule_id: str, host: str, since: datetime, until: datetime, *, besides: int
) -> RuleRecord:
    """What a rule has alerted of on a host in a period, and what people said of it; one alert is left out."""
    said = alert_verdicts.c.verdict
    rows = connection.execute(
        select(said, func.count())
        .select_from(alerts)
        .join(hosts, hosts.c.host_id == alerts.c.host_id)
        .outerjoin(alert_verdicts, alert_verdicts.c.alert_id == alerts.c.alert_id)
        .where(
            hosts.c.host == host,
            alerts.c.end > since,
            alerts.c.end <= until,
            alerts.c.rule_id == rule_id,
            alerts.c.alert_id != besides,
        )
        .group_by(said)
    )
    numbers = {None if verdict is None else Verdict(verdict): number for verdict, number in rows}
    return RuleRecord(
        alerts=sum(numbers.values()), benign=numbers.get(Verdict.BENIGN, 0), true=numbers.get(Verdict.TRUE, 0)
    )
