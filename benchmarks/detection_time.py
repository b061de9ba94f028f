"""Time that the stages of detection take for snapshots of 1,000 and of 10,000 rows, with the shipped rules."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from detector import shipped
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.config import Models
from detector.domain import Severity
from detector.models import registry
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.service.training import train_host
from detector.store.engine import open_store, reading
from detector.store.migrating import upgrade
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from detector.domain import ConnectionCount, Finding, Learning, Observation, SnapshotRef, StoredCount, ThresholdMove
    from detector.pipeline import RuleSet, Scorer
    from detector.store.recent import Needed

# Of five minutes each: enough for a forest.
_HISTORY = 36
_ROUNDS = 5
_NO_FOREST = "no forest was in force: what was measured is not what detection does"
_SETTINGS = Models(burn_in_hours=1)


@dataclass(frozen=True)
class _Took:
    seconds: float
    processor_seconds: float


class _Timer:
    def __init__(self) -> None:
        self.took: list[_Took] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        began, processor = self._began
        self.took.append(_Took(time.perf_counter() - began, time.thread_time() - processor))


class TimedScorer:
    """Scores, and notes how long that takes."""

    def __init__(self, inner: Scorer) -> None:
        self._inner, self.timer = inner, _Timer()

    def learning(self, connection: Connection, host_id: int) -> Learning:
        """As the scorer within has it."""
        return self._inner.learning(connection, host_id)

    def moved(self, connection: Connection, snapshot: SnapshotRef) -> ThresholdMove | None:
        """As the scorer within has it."""
        return self._inner.moved(connection, snapshot)

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[Sequence[Observation], Learning]:
        """As the scorer within has it."""
        with self.timer:
            return self._inner.score(connection, snapshot, counts)


class _TimedRules:
    def __init__(self, inner: RuleSet) -> None:
        self._inner, self.timer = inner, _Timer()

    @property
    def needs(self) -> Needed:
        return self._inner.needs

    def prepare(self, connection: Connection) -> None:
        """Not measured: see `lists`."""
        self._inner.prepare(connection)

    def evaluate(self, connection: Connection, snapshot: SnapshotRef) -> Sequence[Finding]:
        with self.timer:
            return self._inner.evaluate(connection, snapshot)


def measure() -> Iterator[Figure]:
    """After three hours of history, with the isolation forest in force. Of a tenth of the rows, or of all, the address
    is new each time; the first such snapshot, which a host never saw the like of, is left out.
    """
    for rows in (1_000, 10_000):
        yield from _measure(rows, 10)
    yield from _measure(10_000, 1)


def _measure(rows: int, one_in: int) -> Iterator[Figure]:
    random, new = Random(1), _new_addresses()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/detector.db")
        upgrade(engine)
        recorder = Recorder(engine, interval=timedelta(minutes=5), unpacked=False)
        scorer = TimedScorer(HostScorer(_SETTINGS, trains=False))
        rules = _TimedRules(load_rules([shipped.folder("rules")]).ruleset)
        stages = Stages(
            scorer=scorer,
            ruleset=rules,
            alert_book=AlertBook([ChannelPolicy(name="console", min_severity=Severity.LOW)], timedelta(hours=1)),
        )
        whole = _Timer()
        for number in range(_HISTORY + 1 + _ROUNDS):
            often = one_in if number >= _HISTORY else 0
            recorder.snapshot(*counts_of(random, rows if often else 200, new, one_in=often))
            (host_id,) = hosts_behind(engine)
            if number == _HISTORY:
                train_host(engine, host_id, _SETTINGS)
            with whole:
                detect_next(engine, host_id, stages)
        with reading(engine) as connection:
            forest = registry.in_force(connection, host_id)
        engine.dispose()
    if forest is None:
        raise RuntimeError(_NO_FOREST)
    what = "all" if one_in == 1 else f"1 in {one_in}"
    for name, timer in (("models", scorer.timer), ("rules", rules.timer), ("whole transaction", whole)):
        yield figure(f"{name}, {rows:,} rows, {what} to a new address", timer.took[-_ROUNDS:])


def figure(name: str, took: Sequence[_Took]) -> Figure:
    """The median of some rounds, beside the processor time, which what else the machine does disturbs less."""
    processor = 1000 * median(each.processor_seconds for each in took)
    least = 1000 * min(each.seconds for each in took)
    note = f"median of {len(took)}, SQLite; the shortest {least:.0f} ms; processor time {processor:.0f} ms"
    return Figure(name, 1000 * median(each.seconds for each in took), "ms", note)


def _new_addresses() -> Iterator[str]:
    for number in range(1 << 22):
        yield f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def counts_of(random: Random, rows: int, new: Iterator[str], *, one_in: int) -> list[ConnectionCount]:
    """So many counts, of which one in so many is to an address that is `new`; 0: none is."""
    return [
        count(
            next(new) if one_in and index % one_in == 0 else f"10.1.{index // 250}.{index % 250}",
            (22, 80, 443)[(index + random.randrange(50) // 49) % 3],
            attempted=2,
            established=2,
            executable=f"/usr/bin/tool{index % 7}",
            user=f"user{index % 40}",
            login_user=f"user{index % 40}",
        )
        for index in range(rows)
    ]
