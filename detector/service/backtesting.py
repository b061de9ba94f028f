"""What a rule would have found in what is stored: the findings of live detection, and the alerts that they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts.tally import Many, Tally
from detector.ruleset import ranges
from detector.ruleset.categories import CATEGORIES
from detector.ruleset.matched import added_up
from detector.service.replaying import OnHost, Wanted
from detector.service.watching import watched_from
from detector.store import scratch
from detector.store.damage import passed_over
from detector.store.engine import reading, writing
from detector.store.extent import extent
from detector.store.filters import known_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import Rule
    from detector.ruleset.matched import Matched
    from detector.ruleset.replayed_events import ReplayedEvents
    from detector.store.extent import Extent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 24 * 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which findings would make an alert."""

    cooldown: timedelta
    """See `alerts.tally.Tally`."""
    burn_in: timedelta = timedelta(0)
    """Nobody is told of a host that was watched for less."""


@dataclass(slots=True, kw_only=True)
class Looked:
    """How far a back-test has looked."""

    hosts: int = 0
    snapshots: int = 0
    start: datetime | None = None
    """Of the oldest snapshot."""
    end: datetime | None = None
    known_since: datetime | None = None
    """When the first of the hosts became known; what is missing since then has expired."""
    remembered_since: datetime | None = None
    """From when on what the rule remembers of hosts is stored, of the host of which that is least; None: for its whole
    window, or it remembers nothing."""
    damaged: int = 0
    """Snapshots that cannot be read."""

    def add(self, host: Extent, remembered_since: datetime | None) -> None:
        """Counts a host in."""
        self.hosts += 1
        self.snapshots += host.snapshots
        self.start = host.start if self.start is None else min(self.start, host.start)
        self.end = host.end if self.end is None else max(self.end, host.end)
        since = host.created_at
        self.known_since = since if self.known_since is None else min(self.known_since, since)
        if remembered_since is not None:
            self.remembered_since = max(self.remembered_since or remembered_since, remembered_since)


@dataclass(slots=True, kw_only=True)
class Result:
    """What a rule would have done."""

    tally: Tally
    looked: Looked = field(default_factory=Looked)
    days: Counter[date] = field(default_factory=Counter)
    """Findings by the day, of UTC, on which their snapshots ended."""
    held: int = 0
    """Those of them of which nobody is told: of hosts that were not watched for long enough."""

    @property
    def findings(self) -> int:
        """How many there are."""
        return self.days.total()


def backtest(engine: Engine, rule: Rule, wanted: Wanted, policy: Policy, told: Callable[[float], None]) -> Result:
    """What a rule would have found, by itself, whether it reports or only feeds correlations.

    Args:
        engine: the database.
        rule: loaded for this alone: what it remembers of hosts is then that of the past.
        wanted: what is looked at.
        policy: what would be an alert.
        told: is called with the part of 1 that is done.

    Raises:
        StoreError: the database is away.
    """
    result = Result(tally=Tally(policy.cooldown))
    for on_host in _on_hosts(engine, rule, wanted, result.looked, told):
        watched = watched_from(on_host.past, on_host.host_id, policy.burn_in, on_host.period)
        if on_host.looks_at_single_snapshots:
            counted = _Counted(result, on_host, watched)
            for replay, matched in on_host.matched():
                counted.add(replay, matched)
            continue
        for snapshot, findings in on_host.findings():
            result.days[snapshot.end.date()] += len(findings)
            if snapshot.seq >= watched:
                result.tally.add(snapshot, findings)
            else:
                result.held += len(findings)
    return result


def found(
    engine: Engine, rule: Rule, wanted: Wanted, told: Callable[[float], None] = lambda _: None
) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
    """The findings of each snapshot that has any, host by host, in the order in which they would have been made.

    Raises:
        StoreError: the database is away.
    """
    for on_host in _on_hosts(engine, rule, wanted, Looked(), told):
        if on_host.looks_at_single_snapshots:
            for replay, matched in on_host.matched():
                yield from replay.findings(matched)
        else:
            yield from on_host.findings()


def _on_hosts(
    engine: Engine, rule: Rule, wanted: Wanted, looked: Looked, told: Callable[[float], None]
) -> Iterator[OnHost]:
    """The rule on each host of which anything is stored, one after another; `looked` is told of them."""
    of_rule = rule.matcher.wanted.matching.ranges
    if rule.matcher.wanted.category is not CATEGORIES["network_connection"] and of_rule:
        # Its rows are looked at where they are.
        with writing(engine) as connection:
            ranges.keep(connection, of_rule)
    with reading(engine) as connection, scratch.opened() as memory:
        ranges.keep(memory, of_rule)
        hosts = known_hosts(connection, wanted.host)
        for number, (host_id, host) in enumerate(hosts.items()):
            period = extent(connection, host_id, wanted.since, wanted.until)
            if period is None:
                continue

            def told_of_host(done: float, number: int = number) -> None:
                told((number + done) / len(hosts))

            on_host = OnHost(
                past=connection,
                memory=memory,
                rule=rule,
                host_id=host_id,
                host=host,
                wanted=wanted,
                period=period,
                told=told_of_host,
            )
            looked.add(period, on_host.remembered_since())
            yield on_host
        looked.damaged = passed_over(connection)
    told(1.0)


@dataclass(slots=True)
class _Counted:
    """Counts the findings of a rule that looks at single snapshots, on one host."""

    result: Result
    on_host: OnHost
    watched: int
    """The first snapshot by which the host was watched for long enough."""
    latest: int = 0
    """When the last snapshot ended that was counted, in microseconds since 1970."""

    def add(self, replay: ReplayedEvents, matched: Matched) -> None:
        """Counts rows in; those of a host come in the order of its snapshots."""
        taken = matched.taken
        places, groups, rows = added_up(matched, np.ones(len(matched.which), dtype=np.int64))
        days, numbers = np.unique(taken.ends[places] // _DAY_US, return_counts=True)
        for day, number in zip(days.tolist(), numbers.tolist(), strict=True):
            self.result.days[(_EPOCH + timedelta(days=day)).date()] += number
        told = taken.seqs[places] >= self.watched
        self.result.held += int(np.count_nonzero(~told))
        places, groups, rows = places[told], groups[told], rows[told]
        ends = taken.ends[places]
        if not len(ends):
            return
        in_order = ends[0] >= self.latest and bool((np.diff(ends) >= 0).all())
        self.latest = max(self.latest, int(ends.max()))
        if not in_order:
            for snapshot, findings in replay.findings(matched.only(taken.seqs[matched.which] >= self.watched)):
                self.result.tally.add(snapshot, findings)
            return
        rule = self.on_host.rule
        self.result.tally.add_many(
            Many(
                host=self.on_host.host,
                rule_title=rule.title,
                severity=rule.severity,
                known=replay.groups,
                groups=groups,
                starts=taken.starts[places],
                ends=ends,
                rows=rows,
            )
        )
