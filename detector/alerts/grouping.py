"""Which findings are one incident, and what becomes of it: pure decisions, in data time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from detector.domain import Finding, Severity

Place = tuple[int, int, int]
"""A stored count of the snapshot's host: seq, key_id, session. With `WHOLE` for a key, the snapshot itself."""

WHOLE = 0
"""Keys are numbered from 1."""

# An incident is told again when it has become this much larger than what was told.
_GROWTH = 10


class Decision(StrEnum):
    """What became of a finding. Stored with it and shown, since operators ask why."""

    OPENED = "opened"
    """No alert with its fingerprint was active within the cooldown."""
    RAISED = "raised"
    """It is more severe than what its alert was before."""
    GROWN = "grown tenfold"
    """Its alert has grown to ten times what was last told."""
    GROUPED = "grouped"
    """It belongs to an alert that was told already."""
    CAPPED = "beyond the alerts of a day"
    """So many alerts of the rule on scores were opened that day: it is held in one more, which was told already."""

    @property
    def sends(self) -> bool:
        """Whether people are told."""
        return self not in (Decision.GROUPED, Decision.CAPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """All findings of one snapshot that share a fingerprint: one for each rule, the most severe first."""

    findings: tuple[Finding, ...]

    @property
    def lead(self) -> Finding:
        """The finding that gives the alert its rule, severity and group."""
        return self.findings[0]

    @property
    def fingerprint(self) -> str:
        """What its findings share."""
        return self.lead.fingerprint

    @property
    def places(self) -> set[Place]:
        """The rows behind it, each once."""
        return {(ref.seq, ref.key_id, ref.session) for finding in self.findings for ref in finding.evidence}

    @property
    def about_capture(self) -> bool:
        """Whether it is about how well snapshots were taken, and has no rows."""
        return any(ref.key_id == WHOLE for finding in self.findings for ref in finding.evidence)

    @property
    def start(self) -> datetime:
        """The earliest start of the findings."""
        return min(finding.start for finding in self.findings)

    @property
    def end(self) -> datetime:
        """The latest end of the findings."""
        return max(finding.end for finding in self.findings)


def incidents(findings: Iterable[Finding]) -> list[Incident]:
    """The findings of one snapshot by fingerprint, the most severe first; the order of `findings` has no influence.

    Findings of one rule with one fingerprint become one, with the evidence of all.
    """
    by_fingerprint: dict[str, dict[str, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        by_fingerprint[finding.fingerprint][finding.rule_id].append(finding)
    merged = [
        Incident(findings=tuple(sorted((_union(same) for same in rules.values()), key=_precedence)))
        for rules in by_fingerprint.values()
    ]
    return sorted(merged, key=lambda incident: _precedence(incident.lead))


def continues(last_end: datetime, *, now: datetime, cooldown: timedelta) -> bool:
    """Whether a finding at `now` belongs to the alert whose last one ended at `last_end`."""
    # Either way: a clock that was ahead must not swallow what comes after it was put right.
    return abs(now - last_end) <= cooldown


def decide(*, before: Severity | None, severity: Severity, told_magnitude: int, magnitude: int) -> Decision:
    """What becomes of an incident, once its evidence has been added to its alert.

    Args:
        before: the alert's severity until now; None when this incident has opened it.
        severity: the incident's severity.
        told_magnitude: the alert's magnitude when people were last told.
        magnitude: the alert's magnitude now (see `Totals.magnitude`).
    """
    if before is None:
        return Decision.OPENED
    if severity.rank > before.rank:
        return Decision.RAISED
    if magnitude >= _GROWTH * max(told_magnitude, 1):
        return Decision.GROWN
    return Decision.GROUPED


def _precedence(finding: Finding) -> tuple[int, str, str]:
    return -finding.severity.rank, finding.fingerprint, finding.rule_id


def _union(same: list[Finding]) -> Finding:
    if len(same) == 1:
        return same[0]
    first = min(
        same, key=lambda finding: (-finding.severity.rank, finding.rule_title, repr(sorted(finding.group.items())))
    )
    evidence = {(ref.seq, ref.key_id, ref.session): ref for finding in same for ref in finding.evidence}
    return replace(
        first,
        start=min(finding.start for finding in same),
        end=max(finding.end for finding in same),
        evidence=tuple(evidence[place] for place in sorted(evidence)),
    )
