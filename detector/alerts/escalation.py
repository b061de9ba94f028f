"""Alerts that nobody has acknowledged in time are told to somebody else: once for each alert, channel and time.

The clock is that of the detector, not the host's: it is people who are waited for. Where each alert's wait began is
stored, and what was told stands in the outbox, so that a restart changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, case, delete, select

from detector.alerts import events, muting
from detector.alerts.policy import is_over
from detector.amounts import humanised
from detector.domain import AlertState, NotificationState, Severity
from detector.store import bulk
from detector.store.tables import alerts, hosts, notifications, unanswered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement

    from detector.alerts.values import Common
    from detector.config_escalations import Escalation
    from detector.domain import Scalar

ESCALATED = "escalated"
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "not acknowledged within "
_WAITS = and_(
    alerts.c.state == AlertState.OPEN.value,
    # Nobody was told yet: a silence has kept it from that.
    alerts.c.notified_at.is_not(None),
    alerts.c.acknowledged_at.is_(None),
    alerts.c.silenced_by.is_(None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be told to a channel at a moment, unless somebody acknowledges the alert before."""

    at: datetime
    channel: str
    reason: str
    """As stored with the notification."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be done now about alerts that nobody has acknowledged."""

    begun: dict[int, Severity]
    """Those that begin to wait, anew if they have become more severe."""
    ended: frozenset[int]
    """Those that wait no more: acknowledged, resolved, silenced."""
    due: dict[int, tuple[Step, ...]]

    @property
    def is_empty(self) -> bool:
        """There is nothing to do."""
        return not (self.begun or self.ended or self.due)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """An alert that nobody has acknowledged."""

    alert_id: int
    host: str
    severity: Severity
    rule_id: str
    rule_title: str
    group: Mapping[str, Scalar]
    common: Common
    since: datetime | None
    """When it began to wait; None: it begins now."""


def reason_of(escalation: Escalation) -> str:
    """Why a step is told."""
    return f"{_PREFIX}{humanised(timedelta(seconds=escalation.after_seconds))}"


def steps(
    escalations: Sequence[Escalation], severity: Severity, since: datetime, told: Collection[tuple[str, str]] = ()
) -> list[Step]:
    """What an alert has before it, the first first.

    Args:
        severity: the alert's.
        since: when it began to wait.
        told: channel and reason of what was sent of it already: that is never told again.
    """
    found = [
        Step(at=since + timedelta(seconds=each.after_seconds), channel=channel, reason=reason_of(each))
        for each in escalations
        if not each.severity or severity in each.severity
        for channel in each.channels
    ]
    return sorted((each for each in found if (each.channel, each.reason) not in told), key=lambda each: each.at)


def due(before: Sequence[Step], since: datetime, now: datetime) -> tuple[Step, ...]:
    """Those of the steps whose time has come; a clock that was set back holds none up for longer than it takes."""
    return tuple(each for each in before if is_over(since, now=now, wait=each.at - since))


def outlook(connection: Connection, escalations: Sequence[Escalation], now: datetime) -> Outlook:
    """Looks at all alerts that wait, or have waited until now. Writes nothing."""
    waiting = _waiting(connection, escalations)
    told = told_of(connection, [each.alert_id for each in waiting])
    found: dict[int, tuple[Step, ...]] = {}
    for each in waiting:
        if each.since is not None:
            before = steps(escalations, each.severity, each.since, told.get(each.alert_id, ()))
            if ready := due(before, each.since, now):
                found[each.alert_id] = ready
    muted = _muted(connection, [each for each in waiting if each.alert_id in found], now)
    known = connection.scalars(select(unanswered.c.alert_id))
    return Outlook(
        begun={each.alert_id: each.severity for each in waiting if each.since is None},
        ended=frozenset(known) - {each.alert_id for each in waiting},
        due={alert_id: ready for alert_id, ready in found.items() if alert_id not in muted},
    )


def advance(connection: Connection, escalations: Sequence[Escalation], now: datetime) -> dict[int, tuple[Step, ...]]:
    """Does what is to be done now, and returns what was put into the outbox, by alert.

    Args:
        connection: a transaction that writes. What people answer meanwhile waits for it, or it for them; what another
            detector does at the same time is left to it.
        escalations: as configured.
        now: by this machine's clock.
    """
    wanted = outlook(connection, escalations, now)
    held = _held(connection, {*wanted.begun, *wanted.ended, *wanted.due})
    # Once more: until they were held, people and other detectors have gone on.
    wanted = outlook(connection, escalations, now)
    anew = [alert_id for alert_id in {*wanted.begun, *wanted.ended} if alert_id in held]
    connection.execute(delete(unanswered).where(bulk.among(connection, unanswered.c.alert_id, anew)))
    rows = [(alert_id, severity.value, now) for alert_id, severity in wanted.begun.items() if alert_id in held]
    bulk.add_any(connection, unanswered, ("alert_id", "severity", "since"), rows)
    told = {alert_id: ready for alert_id, ready in wanted.due.items() if alert_id in held}
    bulk.add_any(
        connection,
        notifications,
        ("alert_id", "attempts", "created_at", "next_attempt_at", "channel", "reason", "state"),
        [
            (alert_id, 0, now, _AT_ONCE, step.channel, step.reason, NotificationState.PENDING.value)
            for alert_id, ready in told.items()
            for step in ready
        ],
    )
    events.write(
        connection,
        [
            events.Event(alert_id=alert_id, at=now, kind=ESCALATED, said=f"to {step.channel}: {step.reason}")
            for alert_id, ready in told.items()
            for step in ready
        ],
    )
    return told


def upcoming(connection: Connection, escalations: Sequence[Escalation], alert_id: int) -> list[Step]:
    """What an alert that waits has before it; nothing, if it does not wait, or nobody has looked at it yet."""
    for each in _waiting(connection, escalations, alerts.c.alert_id == alert_id):
        if each.since is not None:
            told = told_of(connection, [alert_id]).get(alert_id, frozenset())
            return steps(escalations, each.severity, each.since, told)
    return []


def told_of(connection: Connection, alert_ids: Sequence[int]) -> dict[int, frozenset[tuple[str, str]]]:
    """Channel and reason of what was escalated of alerts, by their numbers."""
    columns = notifications.c
    found: dict[int, set[tuple[str, str]]] = {}
    for alert_id, channel, reason in connection.execute(
        select(columns.alert_id, columns.channel, columns.reason).where(
            bulk.among(connection, columns.alert_id, alert_ids), columns.reason.startswith(_PREFIX, autoescape=True)
        )
    ):
        found.setdefault(alert_id, set()).add((channel, reason))
    return {alert_id: frozenset(told) for alert_id, told in found.items()}


def _waiting(
    connection: Connection, escalations: Sequence[Escalation], *conditions: ColumnElement[bool]
) -> list[_Waiting]:
    """The alerts that somebody may be told of."""
    severities = {severity.value for each in escalations for severity in each.severity or tuple(Severity)}
    columns = alerts.c
    rows = connection.execute(
        select(
            *(columns.alert_id, hosts.c.host, columns.severity, columns.rule_id, columns.rule_title),
            *(columns.group, columns.common),
            # One that has become more severe waits anew.
            case((unanswered.c.severity == columns.severity, unanswered.c.since)).label("since"),
        )
        .join(hosts, hosts.c.host_id == columns.host_id)
        .outerjoin(unanswered, unanswered.c.alert_id == columns.alert_id)
        .where(_WAITS, columns.severity.in_(severities), *conditions)
        .order_by(columns.alert_id)
    ).mappings()
    return [_Waiting(**{**row, "severity": Severity(row["severity"])}) for row in rows]


def _held(connection: Connection, alert_ids: Collection[int]) -> set[int]:
    """Those of these alerts that nobody else is about; they stay as they are until the end of the transaction."""
    statement = select(alerts.c.alert_id).where(bulk.among(connection, alerts.c.alert_id, alert_ids))
    return set(connection.scalars(statement.with_for_update(skip_locked=True)))


def _muted(connection: Connection, waiting: Sequence[_Waiting], now: datetime) -> set[int]:
    """Those that a silence mutes at present."""
    by_host: dict[str, dict[int, _Waiting]] = {}
    for each in waiting:
        by_host.setdefault(each.host, {})[each.alert_id] = each
    return {alert_id for host, some in by_host.items() for alert_id in muting.muted(connection, host, now, some)}
