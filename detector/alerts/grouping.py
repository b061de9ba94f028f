"""Which findings of a snapshot are one incident."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from detector.domain import Finding

Place = tuple[int, int, int]
"""A stored count of the snapshot's host: seq, key_id, session. With `WHOLE` for a key, the snapshot itself."""

WHOLE = 0
"""Keys are numbered from 1."""


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
