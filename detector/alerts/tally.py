"""Which alerts findings would make, without a database: what a rule is worth before it is in force."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector.alerts.grouping import incidents
from detector.alerts.policy import continues

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from detector.domain import Finding, Scalar, Severity, SnapshotRef


@dataclass(slots=True, kw_only=True)
class WouldBe:
    """An alert that there would be."""

    host: str
    rule_title: str
    severity: Severity
    fingerprint: str
    group: Mapping[str, Scalar]
    opened_at: datetime
    start: datetime
    end: datetime
    findings: int = 0
    rows: int = 0
    """Rows of its findings; one that several findings name counts for each."""


@dataclass(slots=True)
class Tally:
    """Groups findings as the alert book does.

    Args:
        cooldown: findings with one fingerprint that follow one another within this time are one alert.
    """

    cooldown: timedelta
    alerts: list[WouldBe] = field(default_factory=list)
    """In the order in which they would be opened."""
    _of: dict[str, list[WouldBe]] = field(default_factory=dict)

    def add(self, snapshot: SnapshotRef, findings: Iterable[Finding]) -> None:
        """Adds the findings of a snapshot; those of a host come in the order of its snapshots."""
        for incident in incidents(findings):
            known = self._of.setdefault(incident.fingerprint, [])
            alert = self._active(known, snapshot.end)
            if alert is None:
                alert = WouldBe(
                    host=snapshot.host,
                    rule_title=incident.lead.rule_title,
                    severity=incident.lead.severity,
                    fingerprint=incident.fingerprint,
                    group=incident.lead.group,
                    opened_at=snapshot.end,
                    start=incident.start,
                    end=incident.end,
                )
                self.alerts.append(alert)
                known.append(alert)
            alert.findings += len(incident.findings)
            alert.rows += len(incident.places)
            alert.start, alert.end = min(alert.start, incident.start), max(alert.end, incident.end)

    def _active(self, known: Sequence[WouldBe], now: datetime) -> WouldBe | None:
        """The alert that a finding belongs to."""
        if not known:
            return None
        # The others ended before it, unless the clock was set back.
        likely = known[-1:] if now >= known[-1].end else known
        active = [each for each in likely if continues(each.end, now=now, cooldown=self.cooldown)]
        return max(active, key=lambda each: each.end, default=None)
