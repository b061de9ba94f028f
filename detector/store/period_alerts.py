"""The alerts that were opened in a period, counted and the worst of them listed; and what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Connection, and_, case, func, literal, select

from detector.domain import Alert, AlertState, NotificationState, Severity, Verdict
from detector.store.alerts import alert_from, alerts_with_hosts
from detector.store.counting import number_of
from detector.store.moments import microseconds
from detector.store.tables import alert_verdicts, alerts, notifications

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, FromClause

_ALERTS, _SAID, _SENT = alerts.c, alert_verdicts.c, notifications.c
_SERIOUS = (Severity.HIGH.value, Severity.CRITICAL.value)
_RANK = case({each.value: each.rank for each in Severity}, value=_ALERTS.severity)
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCounts:
    """How many alerts were opened, and how they stand now."""

    total: int
    open: int
    acknowledged: int
    silenced: int
    benign: int
    true: int
    unanswered: int
    """High or critical ones that nobody acknowledged, resolved or judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOpened:
    """What one rule opened."""

    rule_id: str
    title: str
    severity: Severity
    """The highest that its alerts had."""
    alerts: int
    findings: int
    benign: int
    true: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonGroup:
    """What most alerts of a rule are about."""

    alerts: int
    newest: int
    """The number of the last of them."""


def opened_counts(connection: Connection, since: datetime, until: datetime) -> OpenedCounts:
    """The alerts that were opened in [since, until), over all hosts."""
    answered = _ALERTS.acknowledged_at.is_not(None) | _ALERTS.resolved_by.is_not(None) | _SAID.verdict.is_not(None)
    row = (
        connection.execute(
            select(
                func.count().label("total"),
                number_of(_ALERTS.state != AlertState.RESOLVED.value).label("open"),
                number_of(_ALERTS.acknowledged_at.is_not(None)).label("acknowledged"),
                number_of(_ALERTS.silenced_by.is_not(None)).label("silenced"),
                number_of(_SAID.verdict == Verdict.BENIGN.value).label("benign"),
                number_of(_SAID.verdict == Verdict.TRUE.value).label("true"),
                number_of(and_(_ALERTS.severity.in_(_SERIOUS), ~answered)).label("unanswered"),
            )
            .select_from(_judged())
            .where(*_opened(since, until))
        )
        .mappings()
        .one()
    )
    return OpenedCounts(**{name: int(value) for name, value in row.items()})


def opened_over_time(
    connection: Connection, since: datetime, until: datetime, length: timedelta
) -> dict[tuple[int, str], int]:
    """How many were opened, by the number of the part of the period, each of this length, and the severity."""
    after = microseconds(_ALERTS.opened_at) - literal((since - _EPOCH) // _MICROSECOND, BigInteger)
    part = (after // literal(length // _MICROSECOND, BigInteger)).label("part")
    rows = connection.execute(
        select(part, _ALERTS.severity, func.count()).where(*_opened(since, until)).group_by(part, _ALERTS.severity)
    )
    return {(int(number), severity): count for number, severity, count in rows}


def opened_by_rule(connection: Connection, since: datetime, until: datetime) -> list[RuleOpened]:
    """What each rule opened, the one with the most alerts first."""
    number = func.count().label("alerts")
    rows = connection.execute(
        select(
            _ALERTS.rule_id,
            func.max(_ALERTS.rule_title).label("title"),
            func.max(_RANK).label("rank"),
            number,
            func.sum(_ALERTS.finding_count).label("findings"),
            number_of(_SAID.verdict == Verdict.BENIGN.value).label("benign"),
            number_of(_SAID.verdict == Verdict.TRUE.value).label("true"),
        )
        .select_from(_judged())
        .where(*_opened(since, until))
        .group_by(_ALERTS.rule_id)
        .order_by(number.desc(), _ALERTS.rule_id)
    ).mappings()
    return [
        RuleOpened(
            rule_id=row["rule_id"],
            title=row["title"],
            severity=list(Severity)[row["rank"]],
            alerts=row["alerts"],
            findings=int(row["findings"]),
            benign=int(row["benign"]),
            true=int(row["true"]),
        )
        for row in rows
    ]


def commonest(connection: Connection, rule_id: str, since: datetime, until: datetime) -> CommonGroup | None:
    """What most alerts that a rule opened have in common; None: it opened none."""
    number = func.count().label("alerts")
    row = connection.execute(
        select(number, func.max(_ALERTS.alert_id).label("newest"))
        .where(_ALERTS.rule_id == rule_id, *_opened(since, until))
        .group_by(_ALERTS.fingerprint)
        .order_by(number.desc(), func.max(_ALERTS.alert_id).desc())
        .limit(1)
    ).first()
    return None if row is None else CommonGroup(alerts=row.alerts, newest=row.newest)


def last_judged(connection: Connection, rule_id: str, verdict: Verdict, since: datetime, until: datetime) -> int | None:
    """The number of the last alert that a rule opened of which a person said so; None: there is none."""
    found: int | None = connection.scalar(
        select(func.max(_ALERTS.alert_id))
        .select_from(_judged())
        .where(_ALERTS.rule_id == rule_id, _SAID.verdict == verdict.value, *_opened(since, until))
    )
    return found


def worst(
    connection: Connection, since: datetime, until: datetime, *, least: Severity, limit: int
) -> list[tuple[Alert, Verdict | None]]:
    """The first `limit` alerts of a severity of at least this, the worst first, each with what a person said of it.

    Of two of the same severity, one that was called true comes first, and then the stranger, the larger and the later.
    """
    true = case((_SAID.verdict == Verdict.TRUE.value, 0), else_=1)
    rows = connection.execute(
        alerts_with_hosts()
        .add_columns(_SAID.verdict)
        .outerjoin(alert_verdicts, _SAID.alert_id == _ALERTS.alert_id)
        .where(*_opened(since, until), *_at_least(least))
        .order_by(
            _RANK.desc(),
            true,
            func.coalesce(_ALERTS.score, 0.0).desc(),
            (_ALERTS.attempted + _ALERTS.established).desc(),
            _ALERTS.alert_id.desc(),
        )
        .limit(limit)
    ).mappings()
    return [(alert_from(row), Verdict(row["verdict"]) if row["verdict"] else None) for row in rows]


def by_severity(connection: Connection, since: datetime, until: datetime) -> dict[Severity, int]:
    """How many were opened of each severity; those with none are missing."""
    rows = connection.execute(
        select(_ALERTS.severity, func.count()).where(*_opened(since, until)).group_by(_ALERTS.severity)
    )
    return {Severity(severity): count for severity, count in rows}


def newest_alert(connection: Connection) -> int:
    """The number of the last alert; 0: there is none."""
    return connection.scalar(select(func.max(_ALERTS.alert_id))) or 0


def opened_late(connection: Connection, after: int, before: datetime) -> int:
    """How many alerts have a greater number than `after`, but were opened before a moment by their own time."""
    late = select(func.count()).where(_ALERTS.alert_id > after, _ALERTS.opened_at < before)
    return connection.scalar(late) or 0


def sent_by_channel(connection: Connection, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """What each channel took and what was given up for it in [since, until), and what waits now; in order of names."""
    delivered = and_(_SENT.delivered_at >= since, _SENT.delivered_at < until)
    dead = and_(_SENT.state == NotificationState.DEAD.value, _SENT.failed_at >= since, _SENT.failed_at < until)
    pending = _SENT.state == NotificationState.PENDING.value
    rows = connection.execute(
        select(
            _SENT.channel,
            number_of(delivered).label("delivered"),
            number_of(dead).label("failed"),
            number_of(pending).label("waiting"),
        )
        .where(delivered | dead | pending)
        .group_by(_SENT.channel)
        .order_by(_SENT.channel)
    ).mappings()
    numbers = ("delivered", "failed", "waiting")
    return [{"channel": row["channel"], **{name: int(row[name]) for name in numbers}} for row in rows]


def _opened(since: datetime, until: datetime) -> Sequence[ColumnElement[bool]]:
    # What was opened in the period had not ended before it, and the end is in an index.
    return (_ALERTS.opened_at >= since, _ALERTS.opened_at < until, _ALERTS.end >= since)


def _at_least(severity: Severity) -> Sequence[ColumnElement[bool]]:
    return (_ALERTS.severity.in_([each.value for each in Severity if each.rank >= severity.rank]),)


def _judged() -> FromClause:
    return alerts.outerjoin(alert_verdicts, _SAID.alert_id == _ALERTS.alert_id)
