"""Writes who is told of an alert, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert

from detector.alerts.accounts import accounts_in
from detector.alerts.routing import Routed
from detector.domain import NotificationState
from detector.store.tables import notifications

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector.alerts.policy import Decision
    from detector.alerts.routing import Router
    from detector.alerts.standing import Standing

# Not the end of the snapshot: a host whose clock is ahead would hold up its channel for all others.
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


def write(
    connection: Connection,
    router: Router,
    host: str,
    told: Mapping[int, tuple[Standing, Decision]],
    now: datetime,
) -> None:
    """Writes to the outbox what is sent of a host's alerts, by their numbers, and what is withheld."""
    rows = [
        {"alert_id": alert_id, "attempts": 0, "created_at": now, "next_attempt_at": _AT_ONCE, **row}
        for alert_id, (state, decision) in told.items()
        for row in _rows(router, _routed(connection, router, host, alert_id, state, now), decision)
    ]
    if rows:
        connection.execute(insert(notifications), rows)


def _routed(connection: Connection, router: Router, host: str, alert_id: int, state: Standing, now: datetime) -> Routed:
    accounts = accounts_in(connection, alert_id) if router.asks_for_users else {}
    return Routed(
        severity=state.severity,
        rule_id=state.rule_id,
        rule_title=state.rule_title,
        host=host,
        at=now,
        users=accounts.get("user", frozenset()),
        login_users=accounts.get("login_user", frozenset()),
        named=state.channels,
    )


def _rows(router: Router, alert: Routed, decision: Decision) -> Iterator[dict[str, Any]]:
    for choice in router.choose(alert):
        yield {
            "channel": choice.channel,
            "reason": decision.value if choice.sent else choice.reason,
            "state": NotificationState.PENDING if choice.sent else NotificationState.WITHHELD,
        }
