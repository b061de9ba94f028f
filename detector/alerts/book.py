"""The book of alerts: findings come in, alerts and outbox entries stand there afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select

from detector.alerts import cap, capture, evidence, held, standing
from detector.alerts.facts import Totals
from detector.alerts.grouping import Decision, Incident, decide, incidents
from detector.domain import NotificationState, Severity
from detector.store.tables import findings, notifications

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from detector.alerts.standing import Standing
    from detector.domain import Finding, Learning, SnapshotRef

MOST_A_DAY = 5
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPolicy:
    """Which alerts a channel is sent."""

    name: str
    min_severity: Severity

    def accepts(self, severity: Severity) -> bool:
        """Whether alerts of `severity` are sent here."""
        return severity.rank >= self.min_severity.rank


class AlertBook:
    """Groups findings into alerts and writes what is to be sent to the outbox, within the detection's transaction.

    Args:
        channels: where alerts go.
        cooldown: findings with one fingerprint that follow one another within this time are one alert, unless their
            rule has a cooldown of its own.
        most_a_day: alerts of the rule on scores that are opened of a host in a day: see `cap`.
    """

    def __init__(self, channels: Sequence[ChannelPolicy], cooldown: timedelta, *, most_a_day: int = MOST_A_DAY) -> None:
        self._channels = tuple(channels)
        self._cooldown = cooldown
        self._most_a_day = most_a_day

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
        told = cap.capped(connection, snapshot, told, cooldown=self._cooldown, most=self._most_a_day)
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
            if cap.is_digest(incident.fingerprint) and not decisions[alert_id].sends:
                decisions[alert_id] = Decision.CAPPED
            sends = decisions[alert_id].sends
            after[alert_id] = self._told(grown, magnitude, snapshot, incident) if sends else grown

        standing.write(connection, after)
        _write_findings(connection, snapshot, by_alert, decisions)
        self._notify(connection, snapshot, by_alert, after, decisions)

    def _told(self, state: Standing, magnitude: int, snapshot: SnapshotRef, incident: Incident) -> Standing:
        heard = any(self._hearing(incident, state.severity))
        return replace(
            state,
            notified_magnitude=magnitude,
            notified_at=snapshot.end if heard else state.notified_at,
        )

    def _hearing(self, incident: Incident, severity: Severity) -> Iterator[ChannelPolicy]:
        """The channels that are told: those that the rule names, else those that accept so severe an alert."""
        named = incident.lead.telling.channels
        for channel in self._channels:
            if channel.accepts(severity) if named is None else channel.name in named:
                yield channel

    def _notify(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        by_alert: Mapping[int, Incident],
        after: Mapping[int, Standing],
        decisions: Mapping[int, Decision],
    ) -> None:
        rows = [
            {
                "alert_id": alert_id,
                "channel": channel.name,
                "reason": decisions[alert_id].value,
                "state": NotificationState.PENDING,
                "attempts": 0,
                "created_at": snapshot.end,
                # Not the end of the snapshot: a host whose clock is ahead would hold up its channel for all others.
                "next_attempt_at": _AT_ONCE,
            }
            for alert_id, state in after.items()
            if decisions[alert_id].sends
            for channel in self._hearing(by_alert[alert_id], state.severity)
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
