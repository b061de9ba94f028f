"""What the protocol gives: episodes, what was told without attack, and the figures of all of it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from detector.domain import Severity  # noqa: TC001 - msgspec reads the types of fields
from detector.evaluation.figures import most_likely
from detector.evaluation.player import Found, Row  # noqa: TC001 - msgspec reads the types of fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECALLS = tuple(each / 50 for each in range(1, 51))
"""Where the precision is told for curves."""

_HOUR, _DAY = 3600.0, 86_400.0


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that found an attack."""

    rule: str
    """Its title."""
    severity: Severity
    minutes: float
    """From the attack's first snapshot to the first that the rule found it in."""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One attack on one host at one offset."""

    host: str
    attack: str
    offset: float
    rows: int
    """Of the attack."""
    pr_auc: float
    roc_auc: float
    peak: float
    """The highest surprise of a row of the attack."""
    channel: str | None
    """That of this row."""
    minutes: float | None
    """From its first snapshot to the first in which the score alone tells; None: it never does."""
    rules: tuple[Caught, ...]
    """The rules that found it, the first to find it first."""
    precisions: tuple[float, ...]
    """At RECALLS."""

    def minutes_of_rules(self, least: Severity) -> float | None:
        """The same of rules of such severity, or more."""
        return min((each.minutes for each in self.rules if each.severity.rank >= least.rank), default=None)

    def soonest(self, least: Severity) -> float | None:
        """Until the score or a rule told; None: neither did."""
        both = (self.minutes, self.minutes_of_rules(least))
        return min((each for each in both if each is not None), default=None)


class Benign(msgspec.Struct, frozen=True, kw_only=True):
    """A host's test without attack."""

    host: str
    days: float
    hours_of_history: float
    rows: list[Row]
    found: list[Found]

    def score_incidents(self, threshold: float) -> int:
        """Hours in which the score alone would have told of something.

        An address and port is told of again only after 24 h, or at ten times the surprise's odds.
        """
        hours: set[int] = set()
        last: dict[str, tuple[float, float]] = {}
        for row in self.rows:
            if row.surprise > threshold:
                when, surprise = last.get(row.place, (-math.inf, 0.0))
                if row.surprise > surprise + 1 or row.start - when > _DAY:
                    last[row.place] = (row.start, row.surprise)
                    hours.add(int(row.start // _HOUR))
        return len(hours)

    def incidents_by_rule(self, least: Severity) -> dict[str, int]:
        """Hours in which a rule of such severity, or more, told of something; by its title."""
        hours: dict[str, set[int]] = {}
        for each in self._told(least):
            hours.setdefault(each.rule, set()).add(int(each.start // _HOUR))
        return {rule: len(each) for rule, each in hours.items()}

    def incidents(self, least: Severity) -> int:
        """Hours in which any of them did."""
        return len({int(each.start // _HOUR) for each in self._told(least)})

    def _told(self, least: Severity) -> list[Found]:
        return [each for each in self.found if each.told and each.severity.rank >= least.rank]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidents:
    """False incidents on the hosts' tests."""

    events: int
    days: float
    """Of all hosts together."""
    rate: float
    """A host and day: the mean over hosts."""

    @property
    def bound(self) -> float:
        """The most a day that is likely (95 %), the hosts pooled; none in 1.76 days still allows 1.7."""
        return most_likely(self.events) / self.days


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of the protocol for one length of snapshots."""

    seconds: int
    budget: float
    threshold: float
    """The surprise above which the score alone tells."""
    benign: Sequence[Benign]
    episodes: Sequence[Episode]
    left_out: Mapping[str, str]
    """Hosts and attacks of which nothing could be played, with the reason."""

    @property
    def attacks(self) -> dict[str, list[Episode]]:
        """The episodes of each attack."""
        found: dict[str, list[Episode]] = {}
        for each in self.episodes:
            found.setdefault(each.attack, []).append(each)
        return found

    @property
    def score_incidents(self) -> Incidents:
        """What the score alone would have told."""
        return self._incidents({each.host: each.score_incidents(self.threshold) for each in self.benign})

    def rule_incidents(self, least: Severity) -> Incidents:
        """What rules of such severity, or more, told."""
        return self._incidents({each.host: each.incidents(least) for each in self.benign})

    def _incidents(self, events: Mapping[str, int]) -> Incidents:
        return Incidents(
            events=sum(events.values()),
            days=sum(each.days for each in self.benign),
            rate=statistics.fmean(events[each.host] / each.days for each in self.benign),
        )


def mean(values: Sequence[float]) -> float:
    """nan of nothing."""
    return statistics.fmean(values) if values else math.nan


def share_by_score(episodes: Sequence[Episode]) -> float:
    """How many of them the score alone told of, of 1."""
    return mean([each.minutes is not None for each in episodes])


def share_by_rules(episodes: Sequence[Episode], least: Severity) -> float:
    """How many of them rules of such severity, or more, told of, of 1."""
    return mean([each.minutes_of_rules(least) is not None for each in episodes])
