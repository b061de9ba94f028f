"""Rules in force, and the findings that they make of a snapshot."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from detector.domain import Finding, Telling
from detector.ruleset import ranges
from detector.ruleset.baselines import Hours
from detector.ruleset.correlating import CorrelationMatcher
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.needs import Needs
from detector.ruleset.new_terms import Terms
from detector.ruleset.sieve import Sieve
from detector.ruleset.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
        events = [rule.matcher for rule in self._finding if isinstance(rule.matcher, EventMatcher)]
        self._terms = Terms(each.new_terms for each in events if each.new_terms is not None)
        self._hours = Hours()
        self._longest_usual = max((each.baseline.window for each in events if each.baseline), default=None)
        self._sieve = Sieve([*(rule.matcher.wanted for rule in self._finding), *self._terms.wanted])
        correlations = [rule.matcher for rule in self._finding if isinstance(rule.matcher, CorrelationMatcher)]
        self._windows = Windows(correlations)
        self.needs = Needs(correlations)
        """Which rows of past snapshots the rules look at."""
        self.looks_back: timedelta = max((each.timespan for each in correlations), default=timedelta(0))
        """How far before a snapshot's end the rows are that rules look at."""
        self._ranges = {each.digest: each for rule in self.rules for each in rule.matcher.wanted.matching.ranges}

    def take_over(self, before: RuleSet) -> None:
        """Goes on where `before` was, which is not used any more: what both count need not be read again."""
        self._windows.take_over(before._windows)

    def forget(self) -> None:
        """Drops what is remembered of hosts."""
        self._windows.forget()

    def prepare(self, connection: Connection) -> None:
        """Sees to it that the database has the lists that the rules name, in the transaction that is open.

        Where it has them it is one question, so that whoever evaluates may do so each time; without lists none.
        """
        ranges.keep(connection, self._ranges.values())

    def only_reads(self, connection: Connection) -> bool:
        """Whether looking at a snapshot writes nothing: no rule remembers anything, and all lists are there."""
        remembers = self._terms.wanted or self._longest_usual is not None
        return not remembers and not ranges.missing(connection, self._ranges.values())

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> list[Finding]:
        """All findings of one snapshot, by rule id and fingerprint; no two are alike in both.

        Looks at stored observations of this snapshot, and for correlations of those before it, so that catching up
        gives what looking at once would have given. What rules have to know of the past beyond that (`new_terms`,
        `baseline`) is in the database too, and is advanced by each snapshot; the last one may be looked at again. The
        database has to be prepared.
        """
        if ranges.missing(connection, self._ranges.values()):
            raise RuntimeError("the database does not have the lists of these rules: prepare it first")
        rows = self._sieve.rows(connection, snapshot)
        findings = [finding(rule, snapshot.host, match) for rule, match in self._matches(connection, snapshot, rows)]
        return sorted(findings, key=lambda each: (each.rule_id, each.fingerprint))

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
                matches = matcher.matches(connection, snapshot, found, next(passing))
            elif matcher.baseline is None:
                matches = matcher.matches(snapshot, found, noted)
            else:
                matches = self._hours.unusual(
                    connection, snapshot, matcher.baseline, matcher.matches(snapshot, found, noted)
                )
            for match in matches:
                yield rule, match


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
