"""What a rule would have found in what is stored: the findings of live detection, and the alerts that they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from detector.alerts.tally import Tally
from detector.errors import NotReplayableError
from detector.ruleset import ranges
from detector.ruleset.backtest import Replay
from detector.ruleset.categories import CATEGORIES
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.sought import Sought
from detector.store import past, scratch
from detector.store.candidates import Reader
from detector.store.damage import passed_over
from detector.store.engine import reading, writing
from detector.store.extent import Asked, Crowded, extent, windows_begin
from detector.store.filters import known_hosts
from detector.store.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime, timedelta

    from sqlalchemy import Connection, Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import Rule
    from detector.store.candidates import Candidates
    from detector.store.extent import Extent, Part, Span

# Rows that are in the database in memory beside those of windows, some 10 MB.
_ROWS_AT_ONCE = 50_000
_CAPTURED_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked at."""

    since: datetime | None = None
    """Snapshots that ended after it; None: as far back as there are any."""
    until: datetime | None = None
    host: str | None = None
    """A pattern of names; None: every host."""


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
    damaged: int = 0
    """Snapshots that cannot be read."""

    def add(self, host: Extent) -> None:
        """Counts a host in."""
        self.hosts += 1
        self.snapshots += host.snapshots
        self.start = host.start if self.start is None else min(self.start, host.start)
        self.end = host.end if self.end is None else max(self.end, host.end)
        since = host.created_at
        self.known_since = since if self.known_since is None else min(self.known_since, since)


@dataclass(slots=True, kw_only=True)
class Result:
    """What a rule would have done."""

    tally: Tally
    looked: Looked = field(default_factory=Looked)
    days: Counter[date] = field(default_factory=Counter)
    """Findings by the day, of UTC, on which their snapshots ended."""

    @property
    def findings(self) -> int:
        """How many there are."""
        return self.days.total()


def backtest(engine: Engine, rule: Rule, wanted: Wanted, cooldown: timedelta, told: Callable[[float], None]) -> Result:
    """What a rule would have found, by itself, whether it reports or only feeds correlations.

    Args:
        engine: the database.
        rule: loaded for this alone: what it remembers of hosts is then that of the past.
        wanted: what is looked at.
        cooldown: see `alerts.tally.Tally`.
        told: is called with the part of 1 that is done.

    Raises:
        StoreError: the database is away.
    """
    result = Result(tally=Tally(cooldown))
    for snapshot, findings in found(engine, rule, wanted, result.looked, told):
        result.days[snapshot.end.date()] += len(findings)
        result.tally.add(snapshot, findings)
    return result


def found(
    engine: Engine, rule: Rule, wanted: Wanted, looked: Looked, told: Callable[[float], None]
) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
    """The findings of each snapshot that has any, host by host, in the order in which they would have been made.

    `looked` is told how far it looks; else see `backtest`.

    Raises:
        NotReplayableError: the rule goes by what is remembered of a host.
        StoreError: the database is away.
    """
    matcher = rule.matcher
    if isinstance(matcher, EventMatcher) and (matcher.new_terms or matcher.baseline):
        key = "new_terms" if matcher.new_terms else "baseline"
        raise NotReplayableError(
            f"a rule with {key} cannot be tested on the past: it goes by what is remembered while the service runs",
            hint=f"test it without {key}: what it finds then is more",
        )
    if matcher.wanted.category is not CATEGORIES["network_connection"] and matcher.wanted.matching.ranges:
        # Its rows are looked at where they are.
        with writing(engine) as connection:
            ranges.keep(connection, matcher.wanted.matching.ranges)
    with reading(engine) as connection, scratch.opened() as memory:
        hosts = known_hosts(connection, wanted.host)
        for number, (host_id, host) in enumerate(hosts.items()):

            def told_of_host(done: float, number: int = number) -> None:
                told((number + done) / len(hosts))

            replay = Replay(rule, host_id, host, connection)
            replay.prepare(memory)
            of_host = _OfHost(connection, memory, rule, replay, host_id, wanted, told_of_host)
            yield from of_host.findings(looked)
        looked.damaged = passed_over(connection)
    told(1.0)


@dataclass(frozen=True, slots=True)
class _OfHost:
    """A back-test on one host."""

    past: Connection
    memory: Connection
    rule: Rule
    replay: Replay
    host_id: int
    wanted: Wanted
    told: Callable[[float], None]

    def findings(self, looked: Looked) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        since, until = self.wanted.since, self.wanted.until
        period = extent(self.past, self.host_id, since, until)
        if period is None:
            return
        looked.add(period)
        back = self.replay.looks_back
        whole = period if since is None or not back else extent(self.past, self.host_id, since - back, until)
        assert whole is not None  # noqa: S101 - the period is part of it
        replayed = self._captured(period) if self._about_capture else self._counted(period, whole)
        for snapshot, found_here in replayed:
            # Numbers and times may differ in order, where the clock was set back.
            if (since is None or snapshot.end > since) and (until is None or snapshot.end <= until):
                yield snapshot, found_here

    @property
    def _about_capture(self) -> bool:
        return self.rule.matcher.wanted.category is not CATEGORIES["network_connection"]

    def _captured(self, period: Extent) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """Snapshots are plain rows: they are looked at where they are."""
        for first in range(period.first, period.last + 1, _CAPTURED_AT_ONCE):
            span = (first, min(first + _CAPTURED_AT_ONCE - 1, period.last))
            ends = extent(self.past, self.host_id, None, None, span)
            if ends is not None:
                yield from self._found(self.past, None, self._since(span, ends.earliest, ends.end), span)
            self.told((span[1] - period.first + 1) / (period.last - period.first + 1))

    def _counted(self, period: Extent, whole: Extent) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """Counts are packed: those that may matter are unpacked into memory."""
        sought = Sought.by(self.rule)
        reader = Reader(
            connection=self.past,
            host_id=self.host_id,
            scores=sought.scores,
            may_say=None if sought.of_words is None else partial(sought.may_say, self.memory),
            most_rows=_ROWS_AT_ONCE,
            told=lambda seq: self.told((seq - whole.first + 1) / (whole.last - whole.first + 1)),
        )
        rows = Scratch(self.past, self.memory, self.host_id, sought.tables)
        parts = past.choose(self.past, self._asked(sought), whole)
        # From here on all rows are in memory.
        held = whole.first
        for part in parts:
            for read in reader.read(part):
                span = (min(read.ends), max(read.ends))
                needed = self._since(span, min(read.ends.values()), max(read.ends.values()))
                if needed < held:
                    # The clock was set back: a window reaches to what was done with.
                    for again in self._again(reader, parts, (needed, held - 1)):
                        rows.add(again)
                else:
                    rows.forget(needed)
                held = needed
                rows.add(read)
                yield from self._found(self.memory, rows, held, (max(span[0], period.first), span[1]))

    def _found(
        self, rows: Connection, copied: Scratch | None, since: int, span: Span
    ) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """The findings of a span, whose rows and those of windows are there from `since` on, copied or not."""
        back = self.replay.looks_back
        if not back:
            yield from self.replay.findings(rows, span)
            return
        for snapshot in self.replay.candidates(rows, since, span):
            if copied is not None:
                copied.show(snapshot, back)
            if findings := self.replay.evaluate(rows, snapshot):
                yield snapshot, findings

    def _since(self, span: Span, earliest: datetime, latest: datetime) -> int:
        """The first snapshot of the windows that end in a span."""
        back = self.replay.looks_back
        return windows_begin(self.past, self.host_id, span, earliest - back, latest) if back else span[0]

    def _again(self, reader: Reader, parts: Sequence[Part], span: Span) -> Iterator[Candidates]:
        for part in parts:
            clipped = [(max(first, span[0]), min(last, span[1])) for first, last in part.spans]
            yield from reader.read(replace(part, spans=[each for each in clipped if each[0] <= each[1]]))

    def _asked(self, sought: Sought) -> Asked:
        crowd = sought.crowd
        return Asked(
            host_id=self.host_id,
            of_key=sought.of_key,
            of_hour=sought.of_hour,
            hours_say_more=sought.hours_say_more,
            crowd=None
            if crowd is None
            else Crowded(
                threshold=crowd.threshold,
                timespan=crowd.timespan,
                group=crowd.group,
                value=crowd.value,
                sums=crowd.sums,
            ),
        )
