"""Time that the stages of detection take for a snapshot of 1,000 rows, with the shipped rules."""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from detector import shipped
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.config import Models
from detector.domain import Severity
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.store.engine import open_store
from detector.store.migrating import upgrade
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from detector.domain import ConnectionCount, Finding, Learning, Observation, SnapshotRef, StoredCount
    from detector.pipeline import RuleSet, Scorer
    from detector.store.recent import Needed

_HISTORY = 60
_ROUNDS = 15
_ROWS = 1000


class _TimedScorer:
    def __init__(self, inner: Scorer) -> None:
        self._inner, self.seconds = inner, list[float]()

    def learning(self, connection: Connection, host_id: int) -> Learning:
        return self._inner.learning(connection, host_id)

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[Sequence[Observation], Learning]:
        started = time.perf_counter()
        result = self._inner.score(connection, snapshot, counts)
        self.seconds.append(time.perf_counter() - started)
        return result


class _TimedRules:
    def __init__(self, inner: RuleSet) -> None:
        self._inner, self.seconds = inner, list[float]()

    @property
    def needs(self) -> Needed:
        return self._inner.needs

    def prepare(self, connection: Connection) -> None:
        """Not measured: see `lists`."""
        self._inner.prepare(connection)

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> Sequence[Finding]:
        started = time.perf_counter()
        found = self._inner.evaluate(connection, snapshot)
        self.seconds.append(time.perf_counter() - started)
        return found


def measure() -> Iterator[Figure]:
    """After an hour of history, with the isolation forest in force; a tenth of the rows are new each time."""
    random = Random(1)
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/detector.db")
        upgrade(engine)
        recorder = Recorder(engine, interval=timedelta(seconds=60), unpacked=False)
        scorer = _TimedScorer(HostScorer(Models(burn_in_hours=0.5, train_every_hours=0.5)))
        rules = _TimedRules(load_rules([shipped.folder("rules")]).ruleset)
        stages = Stages(
            scorer=scorer,
            ruleset=rules,
            alert_book=AlertBook([ChannelPolicy(name="console", min_severity=Severity.LOW)], timedelta(hours=1)),
        )
        whole = []
        for number in range(_HISTORY + _ROUNDS):
            recorder.snapshot(*_counts(random, _ROWS if number >= _HISTORY else 200))
            (host_id,) = hosts_behind(engine)
            started = time.perf_counter()
            detect_next(engine, host_id, stages)
            whole.append(time.perf_counter() - started)
        engine.dispose()
    note = f"median of {_ROUNDS}, SQLite"
    for name, seconds in (("models", scorer.seconds), ("rules", rules.seconds)):
        yield Figure(f"{name}, {_ROWS:,} rows", 1000 * median(seconds[-_ROUNDS:]), "ms", note)
    yield Figure(f"whole transaction, {_ROWS:,} rows", 1000 * median(whole[-_ROUNDS:]), "ms", note)


def _counts(random: Random, rows: int) -> list[ConnectionCount]:
    return [
        count(
            f"10.{random.randrange(256)}.{random.randrange(256)}.9"
            if index % 10 == 0
            else f"10.1.{index // 250}.{index % 250}",
            random.choice((22, 80, 443)),
            attempted=2,
            established=2,
            executable=f"/usr/bin/tool{index % 7}",
        )
        for index in range(rows)
    ]
