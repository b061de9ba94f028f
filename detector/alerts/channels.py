"""Writes who is told of an alert, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from detector.alerts.accounts import accounts_of
from detector.alerts.routing import Routed
from detector.domain import NotificationState
from detector.store import bulk
from detector.store.tables import notifications

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

    from detector.alerts.accounts import Accounts
    from detector.alerts.policy import Decision
    from detector.alerts.routing import Router
    from detector.alerts.standing import Standing

# Not the end of the snapshot: a host whose clock is ahead would hold up its channel for all others.
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES = ("alert_id", "attempts", "created_at", "next_attempt_at", "channel", "reason", "state")


def write(
    connection: Connection,
    router: Router,
    host: str,
    told: Mapping[int, tuple[Standing, Decision]],
    now: datetime,
) -> None:
    """Writes to the outbox what is sent of a host's alerts, by their numbers, and what is withheld."""
    common = {alert_id: state.common for alert_id, (state, _) in told.items()} if router.asks_for_users else {}
    accounts = accounts_of(connection, common)
    rows: list[tuple[Any, ...]] = []
    # Of ten thousand alerts of a snapshot nearly all take the same way.
    ways: dict[tuple[Routed, Decision], list[tuple[str, str, str]]] = {}
    for alert_id, (state, decision) in told.items():
        way = _routed(host, state, accounts.get(alert_id, {}), now), decision
        if way not in ways:
            ways[way] = list(_rows(router, *way))
        rows += [(alert_id, 0, now, _AT_ONCE, *row) for row in ways[way]]
    bulk.add(connection, notifications, _NAMES, rows)


def told(router: Router, host: str, state: Standing, accounts: Accounts, now: datetime) -> set[str]:
    """The channels that would be told of an alert now."""
    return {each.channel for each in router.choose(_routed(host, state, accounts, now)) if each.sent}


def _routed(host: str, state: Standing, accounts: Accounts, now: datetime) -> Routed:
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


def _rows(router: Router, alert: Routed, decision: Decision) -> Iterator[tuple[str, str, str]]:
    for choice in router.choose(alert):
        if choice.sent:
            yield choice.channel, decision.value, NotificationState.PENDING.value
        else:
            yield choice.channel, choice.reason, NotificationState.WITHHELD.value
