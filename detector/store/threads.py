"""What happened to an alert and to those of its thread, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, literal, or_, select

from detector.store.alerts import alert_from, alerts_with_hosts
from detector.store.tables import alert_events, alerts, findings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from detector.domain import Alert

OPENED = "opened"
# What the opening says already, and what is no turn in the story of an alert.
_TURNS = ("raised", "grown tenfold", "grown a thousandfold", "repeated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened to an alert, or that a person said of it."""

    at: datetime
    alert_id: int
    kind: str
    """"opened", "raised", "resolved", "acknowledged", "note" …"""
    author: str | None
    """None: no person."""
    said: str


def thread_of(connection: Connection, alert: Alert, limit: int = 1000) -> list[Alert]:
    """The alerts of an alert's thread, itself among them, in the order in which they were opened."""
    first = alert.thread_id or alert.alert_id
    rows = connection.execute(
        alerts_with_hosts()
        .where(or_(alerts.c.alert_id == first, alerts.c.thread_id == first))
        .order_by(alerts.c.opened_at, alerts.c.alert_id)
        .limit(limit)
    ).mappings()
    return [alert_from(row) for row in rows]


def timeline(connection: Connection, thread: Sequence[Alert]) -> list[Moment]:
    """What happened to alerts and what was said of them, the first first.

    Times of what detection did are data time, those of what people did are by their clocks.
    """
    numbers = [each.alert_id for each in thread]
    moments = [
        Moment(at=each.opened_at, alert_id=each.alert_id, kind=OPENED, author=None, said=each.summary)
        for each in thread
    ]
    turns = (
        select(func.max(findings.c.end), findings.c.alert_id, findings.c.decision, literal(None), literal(""))
        .where(findings.c.alert_id.in_(numbers), findings.c.decision.in_(_TURNS))
        .group_by(findings.c.alert_id, findings.c.seq, findings.c.decision)
    )
    columns = alert_events.c
    answers = select(columns.at, columns.alert_id, columns.kind, columns.author, columns.said).where(
        columns.alert_id.in_(numbers)
    )
    for statement in (turns, answers):
        moments += [
            Moment(at=at, alert_id=alert_id, kind=kind, author=author, said=said)
            for at, alert_id, kind, author, said in connection.execute(statement)
        ]
    return sorted(moments, key=lambda each: (each.at, each.alert_id, each.kind != OPENED))
