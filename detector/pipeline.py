"""The whole detection flow as one straight line, and what it needs of its stages.

Counts become observations, observations findings, findings alerts and outbox entries; all of one snapshot, and the
advance of the cursor past it, in one transaction: a crash at any point loses nothing and repeats nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from detector.store import cursors, observations, recent, rule_faults, silence, snapshots, tampering, totals, verifying
from detector.store.engine import reading, writing
from detector.store.packed import read_one
from detector.store.packing import PackingError
from detector.uncollected import uncollected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Connection, Engine

    from detector.domain import Finding, Learning, Observation, SnapshotRef, StoredCount, ThresholdMove


STAGES = ("reading", "models", "window", "rules", "alerts", "commit")
"""What the time that a snapshot takes is divided into, in order."""


class Scorer(Protocol):
    """Knows what is normal. All its state is in the database, advanced within the transaction it is given."""

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[Sequence[Observation], Learning]:
        """One observation for each count, in order; learns from them afterwards."""

    def learning(self, connection: Connection, host_id: int) -> Learning:
        """For how long the host was watched."""

    def moved(self, connection: Connection, snapshot: SnapshotRef) -> ThresholdMove | None:
        """The move of the host's threshold that came of a snapshot, the last one scored; None: of that came none."""


class RuleSet(Protocol):
    """Decides what deserves a person."""

    @property
    def needs(self) -> recent.Needed:
        """Which rows of past snapshots rules look at."""

    def prepare(self, connection: Connection) -> None:
        """Puts what the rules compare with into the database, if it is not there."""

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> Sequence[Finding]:
        """The findings that the snapshot's stored observations give rise to."""


class AlertBook(Protocol):
    """Groups findings into alerts and writes what is to be sent to the outbox."""

    def record(
        self, connection: Connection, snapshot: SnapshotRef, findings: Sequence[Finding], learning: Learning
    ) -> None:
        """Stores findings, alerts and notifications; `learning` says for how long the host was watched."""

    def settle(self, connection: Connection, snapshot: SnapshotRef, *, now: datetime, quiet: bool) -> None:
        """Does what time alone decides, of a host of which nothing came after `snapshot`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What stands between a stored snapshot and the outbox."""

    scorer: Scorer
    ruleset: RuleSet
    alert_book: AlertBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What detection made of one snapshot."""

    snapshot: SnapshotRef
    observations: int
    findings: int
    learning: Learning
    moved: ThresholdMove | None = None
    """How the host's threshold has moved."""
    unreadable: int = 0
    """Rows that were damaged in the store, and count as lost."""
    took: Mapping[str, float] = field(default_factory=dict)
    """The seconds of each of STAGES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A host of which nothing came after a snapshot."""

    snapshot: SnapshotRef
    findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesRefused:
    """What is wrong with the rule files."""

    files: int
    """How many of them are refused."""
    fault: str
    """The first fault, as printable text: `path:line: what is wrong; what to write instead`."""


class _Stopwatch:
    """What each stage took, in seconds: from the end of the one before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.took: dict[str, float] = {}

    def end(self, stage: str) -> None:
        """The stage is over."""
        now = time.perf_counter()
        self.took[stage] = now - self._last
        self._last = now


@uncollected()
def detect_next(engine: Engine, host_id: int, stages: Stages) -> Detected | None:
    """Takes the host's next snapshot through all stages; None when there is none to take.

    Raises:
        StoreError: the database is away; nothing of the snapshot is kept, and it comes next again.
    """
    watch = _Stopwatch()
    with writing(engine) as connection:
        snapshot = cursors.next_snapshot(connection, host_id)
        if snapshot is None:
            return None
        tampering.remember(connection, verifying.check_next(connection, snapshot), snapshot.end)
        tampering.tell(connection, snapshot, snapshot.end)
        unreadable = 0
        try:
            packed = read_one(connection, snapshot)
        except PackingError:
            packed, unreadable = None, snapshots.count_as_lost(connection, snapshot)
        counts = snapshots.stored_counts(connection, host_id, packed) if packed else []
        watch.end("reading")
        observed, learning = stages.scorer.score(connection, snapshot, counts)
        moved = stages.scorer.moved(connection, snapshot)
        watch.end("models")
        stages.ruleset.prepare(connection)
        recent.advance(connection, snapshot, packed, stages.ruleset.needs)
        if packed:
            observations.write(connection, snapshot, packed, observed)
        watch.end("window")
        findings = stages.ruleset.evaluate(connection, snapshot)
        watch.end("rules")
        stages.alert_book.record(connection, snapshot, findings, learning)
        watch.end("alerts")
        cursors.advance_cursor(connection, snapshot)
        attempted = sum(packed.counts["attempted"]) if packed else 0
        totals.advance(connection, snapshot, rows=len(observed), attempted=attempted, findings=len(findings))
    watch.end("commit")
    return Detected(
        snapshot=snapshot,
        observations=len(observed),
        findings=len(findings),
        learning=learning,
        moved=moved,
        unreadable=unreadable,
        took=watch.took,
    )


def notice_silence(
    engine: Engine, host_id: int, silent_seconds: float, stages: Stages, *, now: datetime
) -> Silence | None:
    """Shows the rules a host's last snapshot once more, now that nothing came after it; None if something did, or if it
    was noticed before.

    Raises:
        StoreError: the database is away; it is noticed next time.
    """
    with writing(engine) as connection:
        last = silence.take(connection, host_id)
        if last is None:
            return None
        stages.ruleset.prepare(connection)
        known = stages.ruleset.evaluate(connection, last.ref)
        if not silence.note(connection, last.ref, silent_seconds, now):
            return None
        findings = _record_news(connection, last.ref, known, stages)
    return Silence(snapshot=last.ref, findings=findings)


def let_pass(engine: Engine, host_id: int, elapsed: timedelta, stages: Stages) -> None:
    """Does what time alone decides of a host's alerts, if nothing came of it for `elapsed`; else a snapshot does.

    Of a host that should have sent something nobody knows whether it is quiet: its alerts stay open.

    Raises:
        StoreError: the database is away; it is done next time.
    """
    with writing(engine) as connection:
        if (last := silence.take(connection, host_id)) is not None:
            stages.alert_book.settle(connection, last.ref, now=last.ref.end + elapsed, quiet=not last.awaited)


def notice_refused(engine: Engine, host: str, refused: RulesRefused | None, stages: Stages, *, now: datetime) -> bool:
    """Shows the rules the last snapshot of `host`, or of the first host that there is, once more, now that rule files
    are `refused`; or notes that none is any more. Whatever was told already, by whichever worker, is not told again.

    Returns:
        Whether it is done; False: there is no snapshot to show yet.

    Raises:
        StoreError: the database is away; nothing is noted.
    """
    wanted = None if refused is None else (refused.files, refused.fault)
    with reading(engine) as connection:
        host_id = rule_faults.teller(connection, host)
        if host_id is None:
            return refused is None
        if rule_faults.open_fault(connection, host_id) == wanted:
            return True
    with writing(engine) as connection:
        ref = rule_faults.take(connection, host_id)
        if refused is not None and ref is None:
            return False
        rule_faults.end(connection, host_id, now)
        if refused is not None and ref is not None:
            stages.ruleset.prepare(connection)
            known = stages.ruleset.evaluate(connection, ref)
            rule_faults.note(connection, ref, refused.files, refused.fault, now)
            _record_news(connection, ref, known, stages)
    return True


def notice_tampering(engine: Engine, host_id: int, stages: Stages, *, now: datetime) -> bool:
    """Shows the rules a host's last snapshot once more, if of its past there is something to tell that nobody was told;
    returns whether it was.

    Raises:
        StoreError: the database is away; it is told next time.
    """
    with writing(engine) as connection:
        tampering.step_back(connection, host_id)
        last = silence.take(connection, host_id)
        if last is None:
            return False
        stages.ruleset.prepare(connection)
        known = stages.ruleset.evaluate(connection, last.ref)
        if not tampering.tell(connection, last.ref, now):
            return False
        _record_news(connection, last.ref, known, stages)
    return True


def _record_news(connection: Connection, snapshot: SnapshotRef, known: Sequence[Finding], stages: Stages) -> int:
    """Records what the rules find in a snapshot now, and did not before; returns how much that is."""
    before = {(each.rule_id, each.fingerprint) for each in known}
    found = stages.ruleset.evaluate(connection, snapshot)
    news = [each for each in found if (each.rule_id, each.fingerprint) not in before]
    stages.alert_book.record(connection, snapshot, news, stages.scorer.learning(connection, snapshot.host_id))
    return len(news)


def hosts_behind(engine: Engine) -> list[int]:
    """The hosts with snapshots that detection has not seen, each with a cursor to lock.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        unknown = cursors.hosts_without_cursor(connection)
        behind = cursors.hosts_behind(connection)
    if not unknown:
        return behind
    with writing(engine) as connection:
        cursors.create_cursors(connection)
        return cursors.hosts_behind(connection)
