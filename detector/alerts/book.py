"""The book of alerts: findings come in, alerts and outbox entries stand there afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select

from detector.alerts import capture, evidence, held, standing
from detector.alerts.facts import Totals
from detector.alerts.grouping import Decision, Incident, decide, incidents
from detector.alerts.routing import ChannelPolicy, Routed, Router
from detector.domain import NotificationState
from detector.alerts.accounts import accounts_in
from detector.store.tables import findings, notifications

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from detector.alerts.standing import Standing
    from detector.config_routes import Route
    from detector.domain import Finding, Learning, SnapshotRef

__all__ = ["AlertBook", "ChannelPolicy"]

_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


class AlertBook:
    """Groups findings into alerts and writes what is to be sent to the outbox, within the detection's transaction.

    Args:
        channels: where alerts go.
        cooldown: findings with one fingerprint that follow one another within this time are one alert, unless their
            rule has a cooldown of its own.
        routes: which alerts go to which channels.
    """

    def __init__(self, channels: Sequence[ChannelPolicy], cooldown: timedelta, routes: Sequence[Route] = ()) -> None:
        self._router = Router(tuple(channels), tuple(routes))
        self._cooldown = cooldown

    def record(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        findings: Sequence[Finding],
        learning: Learning | None = None,
    ) -> None:
        """Stores findings with what became of them, alerts with their rows and totals, and notifications.

        Neither the order of `findings` nor a second call with the same findings changes what is stored.

        Args:
            connection: within the detection's transaction.
            snapshot: what they were found in.
            findings: of all rules.
            learning: for how long the host was watched; None: for long enough for every rule.
        """
        told = findings
        if learning is not None:
            told = [finding for finding in findings if learning.covers(finding.telling.burn_in)]
            held.write(connection, snapshot, [finding for finding in findings if finding not in told])
        arrived = incidents(_unrecorded(connection, snapshot, told))
        if not arrived:
            return
        cooldowns = {each.fingerprint: each.lead.telling.cooldown or self._cooldown for each in arrived}
        known = standing.find(connection, snapshot, cooldowns)
        opened = standing.open_all(connection, snapshot, [each for each in arrived if each.fingerprint not in known])
        before = {**known, **opened}
        by_alert = {before[each.fingerprint][0]: each for each in arrived}
        new_alerts = {alert_id for alert_id, _ in opened.values()}

        added = evidence.add(
            connection, snapshot, {alert_id: each.places for alert_id, each in by_alert.items()}, new_alerts
        )
        values = evidence.distinct(connection, list(by_alert))
        about_capture = [alert_id for alert_id, each in by_alert.items() if each.about_capture]
        health = capture.read(connection, snapshot, about_capture, values)

        after: dict[int, Standing] = {}
        decisions: dict[int, Decision] = {}
        hearing: dict[int, Sequence[str]] = {}
        for alert_id, incident in by_alert.items():
            _, state = before[incident.fingerprint]
            grown, magnitude = standing.grown(
                state,
                incident,
                host=snapshot.host,
                totals=added.totals.get(alert_id, Totals()),
                explanations=added.explanations.get(alert_id, ()),
                values=values.get(alert_id, {}),
                capture=health.get(alert_id),
            )
            decisions[alert_id] = decide(
                before=None if alert_id in new_alerts else state.severity,
                severity=incident.lead.severity,
                told_magnitude=state.notified_magnitude,
                magnitude=magnitude,
            )
            after[alert_id] = grown
            if decisions[alert_id].sends:
                hearing[alert_id] = self._hearing(connection, snapshot, alert_id, incident, grown)
                after[alert_id] = _told(grown, magnitude, snapshot.end if hearing[alert_id] else None)

        standing.write(connection, after)
        _write_findings(connection, snapshot, by_alert, decisions)
        _notify(connection, snapshot, hearing, decisions)

    def _hearing(
        self, connection: Connection, snapshot: SnapshotRef, alert_id: int, incident: Incident, state: Standing
    ) -> list[str]:
        """The channels that are told."""
        accounts = accounts_in(connection, alert_id) if self._router.asks_for_users else {}
        alert = Routed(
            severity=state.severity,
            rule_id=state.rule_id,
            rule_title=state.rule_title,
            host=snapshot.host,
            at=snapshot.end,
            users=accounts.get("user", frozenset()),
            login_users=accounts.get("login_user", frozenset()),
            named=incident.lead.telling.channels,
        )
        return [choice.channel for choice in self._router.choose(alert) if choice.sent]


def _told(state: Standing, magnitude: int, heard_at: datetime | None) -> Standing:
    return replace(state, notified_magnitude=magnitude, notified_at=heard_at or state.notified_at)


def _notify(
    connection: Connection,
    snapshot: SnapshotRef,
    hearing: Mapping[int, Sequence[str]],
    decisions: Mapping[int, Decision],
) -> None:
    rows = [
        {
            "alert_id": alert_id,
            "channel": channel,
            "reason": decisions[alert_id].value,
            "state": NotificationState.PENDING,
            "attempts": 0,
            "created_at": snapshot.end,
            # Not the end of the snapshot: a host whose clock is ahead would hold up its channel for all others.
            "next_attempt_at": _AT_ONCE,
        }
        for alert_id, channels in hearing.items()
        for channel in channels
    ]
    if rows:
        connection.execute(insert(notifications), rows)


def _unrecorded(connection: Connection, snapshot: SnapshotRef, found: Sequence[Finding]) -> list[Finding]:
    if not found:
        return []
    rows = connection.execute(
        select(findings.c.rule_id, findings.c.fingerprint).where(
            findings.c.host_id == snapshot.host_id, findings.c.seq == snapshot.seq
        )
    )
    recorded = {(rule_id, fingerprint) for rule_id, fingerprint in rows}
    return [finding for finding in found if (finding.rule_id, finding.fingerprint) not in recorded]


def _write_findings(
    connection: Connection,
    snapshot: SnapshotRef,
    by_alert: Mapping[int, Incident],
    decisions: Mapping[int, Decision],
) -> None:
    connection.execute(
        insert(findings),
        [
            {
                "host_id": snapshot.host_id,
                "seq": snapshot.seq,
                "rule_id": finding.rule_id,
                "fingerprint": finding.fingerprint,
                "alert_id": alert_id,
                # One incident, one message: its first finding is told, the others only add to it.
                "decision": (decisions[alert_id] if finding is incident.lead else Decision.GROUPED).value,
                "start": finding.start,
                "end": finding.end,
                "rows": len(set(finding.evidence)),
            }
            for alert_id, incident in by_alert.items()
            for finding in incident.findings
        ],
    )
