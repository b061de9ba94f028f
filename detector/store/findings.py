"""How often each rule matched, and what became of the findings of an alert."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, case, func, select

from detector.domain import SnapshotRef
from detector.store.filters import known_hosts
from detector.store.tables import alerts, detection_cursors, findings, hosts, snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleHits:
    """How many findings a rule had."""

    day: int = 0
    """In the last 24 hours."""
    month: int = 0
    """In the last 30 days."""
    last: datetime | None = None
    """End of the snapshot of the last one, however long ago; None: there is none, or it has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of findings of one alert, and how often."""

    decision: str
    findings: int
    start: datetime
    end: datetime


def rule_hits(connection: Connection, *, now: datetime) -> Mapping[str, RuleHits]:
    """The findings of each rule, by its id, over all hosts; rules without any are missing."""
    day, month = now - timedelta(hours=24), now - MONTH
    # Of many findings there are few alerts.
    last = select(alerts.c.rule_id, func.max(alerts.c.end)).group_by(alerts.c.rule_id)
    hits = {rule_id: RuleHits(last=end) for rule_id, end in connection.execute(last)}
    for host_id in known_hosts(connection):
        first = (
            select(func.min(snapshots.c.seq))
            .where(snapshots.c.host_id == host_id, snapshots.c.end > month)
            .scalar_subquery()
        )
        rows = connection.execute(
            select(
                findings.c.rule_id,
                func.sum(case((findings.c.end > day, 1), else_=0)),
                func.count(),
                func.max(findings.c.end),
            )
            .where(findings.c.host_id == host_id, findings.c.seq >= first, findings.c.end > month)
            .group_by(findings.c.rule_id)
        )
        for rule_id, in_day, in_month, end in rows:
            other = hits.get(rule_id, RuleHits())
            # What was covered by other rules is in no alert of this one.
            last = end if other.last is None else max(other.last, end)
            hits[rule_id] = replace(other, day=other.day + in_day, month=other.month + in_month, last=last)
    return hits


def newest_detected(connection: Connection) -> SnapshotRef | None:
    """The newest snapshot of any host that detection has seen."""
    cursor, columns = detection_cursors.c, snapshots.c
    row = connection.execute(
        select(columns.host_id, hosts.c.host, columns.seq, columns.start, columns.end)
        .join(hosts, hosts.c.host_id == columns.host_id)
        .join(detection_cursors, (cursor.host_id == columns.host_id) & (cursor.seq == columns.seq))
        .order_by(columns.end.desc())
        .limit(1)
    ).first()
    return None if row is None else SnapshotRef(**row._mapping)


def decisions(connection: Connection, alert_id: int) -> list[Decision]:
    """What was decided about the findings of an alert, by the named reasons, the first decision first."""
    rows = connection.execute(
        select(
            findings.c.decision,
            func.count().label("findings"),
            func.min(findings.c.start).label("start"),
            func.max(findings.c.end).label("end"),
        )
        .where(findings.c.alert_id == alert_id)
        .group_by(findings.c.decision)
        .order_by(func.min(findings.c.end), findings.c.decision)
    ).mappings()
    return [Decision(**row) for row in rows]
