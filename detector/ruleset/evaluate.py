"""Rules in force, and the findings that they make of a snapshot."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from detector.domain import Finding, Telling
from detector.ruleset import ranges
from detector.ruleset.matchers import CorrelationMatcher, EventMatcher
from detector.ruleset.screen import read_window
from detector.ruleset.sieve import Sieve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from detector.domain import Scalar, Severity, SnapshotRef
    from detector.ruleset.disabled import Disabled
    from detector.ruleset.filters import Filter
    from detector.ruleset.matchers import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that was read, checked and compiled."""

    rule_id: str
    """The Sigma `id`: a UUID in lower case."""
    title: str
    severity: Severity
    category: str
    """Of the events that it looks at."""
    description: str
    false_positives: tuple[str, ...]
    path: str
    line: int
    produces_findings: bool
    """False for a rule that is disabled, or only feeds correlations (their `generate` is false)."""
    matcher: EventMatcher | CorrelationMatcher
    telling: Telling = field(default_factory=Telling)
    disabled: Disabled | None = None
    filters: tuple[Filter, ...] = ()
    """What it passes over; those that have ended or are disabled are left out."""

    @property
    def kind(self) -> Literal["event", "correlation"]:
        """Whether the rule looks at one snapshot's rows or counts over a window."""
        return "correlation" if isinstance(self.matcher, CorrelationMatcher) else "event"


class RuleSet:
    """The rules in force. All they know of the past is in the database; what they remember of it spares reading it."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: rule.rule_id))
        self._finding = [rule for rule in self.rules if rule.produces_findings]
        self._sieve = Sieve([rule.matcher.wanted for rule in self._finding])
        self._ranges = {each.digest: each for rule in self.rules for each in rule.matcher.wanted.matching.ranges}

    @property
    def looks_back(self) -> timedelta:
        """How far before a snapshot's end the rows are that rules look at."""
        spans = [rule.matcher.timespan for rule in self._finding if isinstance(rule.matcher, CorrelationMatcher)]
        return max(spans, default=timedelta(0))

    def prepare(self, connection: Connection) -> None:
        """Sees to it that the database has the lists that the rules name, in the transaction that is open.

        Where it has them it is one question, so that whoever evaluates may do so each time; without lists none.
        """
        ranges.keep(connection, self._ranges.values())

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> list[Finding]:
        """All findings of one snapshot, by rule id and fingerprint; no two are alike in both.

        Looks at stored observations of this snapshot, and for correlations of those before it, so that catching up
        gives what looking at once would have given. The database has to be prepared.
        """
        if ranges.missing(connection, self._ranges.values()):
            raise RuntimeError("the database does not have the lists of these rules: prepare it first")
        back = self.looks_back
        window = read_window(connection, snapshot, back) if back else []
        findings = [
            finding(rule, snapshot.host, match)
            for rule, rows in zip(self._finding, self._sieve.rows(connection, snapshot), strict=True)
            for match in (
                rule.matcher.matches(snapshot, rows)
                if isinstance(rule.matcher, EventMatcher)
                else rule.matcher.matches(connection, snapshot, rows, window)
            )
        ]
        return sorted(findings, key=lambda each: (each.rule_id, each.fingerprint))


def finding(rule: Rule, host: str, match: Match) -> Finding:
    """What a rule says of a match on a host."""
    return Finding(
        rule_id=rule.rule_id,
        rule_title=rule.title,
        severity=rule.severity,
        fingerprint=fingerprint(rule.rule_id, host, match.group),
        group=match.group,
        start=match.start,
        end=match.end,
        evidence=match.evidence,
        telling=rule.telling,
    )


def fingerprint(rule_id: str, host: str, group: Mapping[str, Scalar]) -> str:
    """What all findings of one incident share: 32 hex digits, BLAKE2b-128 of the rule, the host and the group."""
    canonical = json.dumps([rule_id, host, sorted(group.items())], separators=(",", ":"))
    return blake2b(canonical.encode(), digest_size=16).hexdigest()
