"""Rules in force, and the findings that they make of a snapshot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from detector.domain import Finding
from detector.ruleset.baselines import Hours
from detector.ruleset.correlating import CorrelationMatcher
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.new_terms import Terms
from detector.ruleset.sieve import Sieve
from detector.ruleset.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from detector.domain import Scalar, Severity, SnapshotRef
    from detector.ruleset.matchers import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that was read, checked and compiled."""

    rule_id: str
    """The Sigma `id`: a UUID in lower case."""
    title: str
    severity: Severity
    description: str
    false_positives: tuple[str, ...]
    path: str
    line: int
    produces_findings: bool
    """False for a rule that only feeds correlations (their `generate` is false)."""
    matcher: EventMatcher | CorrelationMatcher

    @property
    def kind(self) -> Literal["event", "correlation"]:
        """Whether the rule looks at one snapshot's rows or counts over a window."""
        return "correlation" if isinstance(self.matcher, CorrelationMatcher) else "event"


class RuleSet:
    """The rules in force. All they know of the past is in the database; what they remember of it spares reading it."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: rule.rule_id))
        self._finding = [rule for rule in self.rules if rule.produces_findings]
        events = [rule.matcher for rule in self._finding if isinstance(rule.matcher, EventMatcher)]
        self._terms = Terms(each.new_terms for each in events if each.new_terms is not None)
        self._hours = Hours()
        self._longest_usual = max((each.baseline.window for each in events if each.baseline), default=None)
        self._sieve = Sieve([*(rule.matcher.wanted for rule in self._finding), *self._terms.wanted])
        self._windows = Windows(
            [rule.matcher for rule in self._finding if isinstance(rule.matcher, CorrelationMatcher)]
        )

    @property
    def looks_back(self) -> timedelta:
        """How far before a snapshot's end the rows are that rules look at."""
        spans = [rule.matcher.timespan for rule in self.rules if isinstance(rule.matcher, CorrelationMatcher)]
        return max(spans, default=timedelta(0))

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> list[Finding]:
        """All findings of one snapshot, by rule id and fingerprint; no two are alike in both.

        Looks at stored observations of this snapshot, and for correlations of those before it, so that catching up
        gives what looking at once would have given. What rules have to know of the past beyond that (`new_terms`,
        `baseline`) is in the database too, and is advanced by each snapshot; the last one may be looked at again.
        """
        rows = self._sieve.rows(connection, snapshot)
        findings = [
            Finding(
                rule_id=rule.rule_id,
                rule_title=rule.title,
                severity=rule.severity,
                fingerprint=fingerprint(rule.rule_id, snapshot.host, match.group),
                group=match.group,
                start=match.start,
                end=match.end,
                evidence=match.evidence,
            )
            for rule, match in self._matches(connection, snapshot, rows)
        ]
        return sorted(findings, key=lambda finding: (finding.rule_id, finding.fingerprint))

    def _matches(
        self, connection: Connection, snapshot: SnapshotRef, rows: Sequence[Sequence[tuple[Any, ...]]]
    ) -> Iterator[tuple[Rule, Match]]:
        number = len(self._finding)
        of_rules = list(zip(self._finding, rows[:number], strict=True))
        of_correlations = [found for rule, found in of_rules if rule.kind == "correlation"]
        passing = iter(self._windows.passing(connection, snapshot, of_correlations))
        noted = self._terms.noted(connection, snapshot, rows[number:])
        if self._longest_usual is not None:
            self._hours.forget(connection, snapshot, self._longest_usual)
        for rule, found in of_rules:
            matcher = rule.matcher
            if isinstance(matcher, CorrelationMatcher):
                matches = matcher.matches(connection, snapshot, found, *next(passing))
            elif matcher.baseline is None:
                matches = matcher.matches(snapshot, found, noted)
            else:
                matches = self._hours.unusual(
                    connection, snapshot, matcher.baseline, matcher.matches(snapshot, found, noted)
                )
            for match in matches:
                yield rule, match


def fingerprint(rule_id: str, host: str, group: Mapping[str, Scalar]) -> str:
    """What all findings of one incident share: 32 hex digits, BLAKE2b-128 of the rule, the host and the group."""
    canonical = json.dumps([rule_id, host, sorted(group.items())], separators=(",", ":"))
    return blake2b(canonical.encode(), digest_size=16).hexdigest()
