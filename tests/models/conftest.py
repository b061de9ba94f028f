"""Hosts with a past, for the tests of the models."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from detector.config import Models
from detector.domain import StoredCount
from detector.models import facts, features, isolation_forest, registry
from detector.models.scorer import HostScorer
from detector.models.state import Subjects
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from tests.builders import START, Recorder, count, read_counts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount, Learning, Observation


class _UndoneError(Exception):
    pass


@dataclass
class Watched:
    """A host whose snapshots are written and scored, one after another."""

    engine: Engine
    settings: Models = field(default_factory=Models)
    host: str = "bastion-1"
    interval: timedelta = timedelta(minutes=5)
    recorder: Recorder = field(init=False)
    scorer: HostScorer = field(init=False)
    learning: Learning = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.engine, host=self.host, interval=self.interval, unpacked=False)
        self.restart()

    def restart(self, *, trains: bool = True) -> None:
        """Another worker takes over."""
        self.scorer = HostScorer(self.settings, trains=trains)

    def snapshot(self, *counts: ConnectionCount) -> list[Observation]:
        """Writes the next snapshot and scores it."""
        return self._score(counts, undo=False)

    def would_say(self, *counts: ConnectionCount) -> list[Observation]:
        """What the next snapshot would score; nothing is learnt from it."""
        now = self.recorder.now
        observed = self._score(counts, undo=True)
        self.recorder.now = now
        return observed

    def _score(self, counts: tuple[ConnectionCount, ...], *, undo: bool) -> list[Observation]:
        ref = self.recorder.snapshot(*counts)
        observed: list[Observation] = []
        with suppress(_UndoneError), writing(self.engine) as connection:
            stored = read_counts(connection, ref)
            observed, self.learning = self.scorer.score(connection, ref, stored)
            if undo:
                raise _UndoneError
        return observed


def trained(forest: isolation_forest.Forest, *, accepted: bool = True) -> registry.Trained:
    """A forest as the store takes it."""
    return registry.Trained(
        forest=forest,
        trained_at=START,
        trained_from=START - timedelta(days=7),
        trained_until=START - timedelta(days=1),
        rows=400,
        figures={"held_back": 80, "separated": 0.75, "beyond": 0.01, "in_force": None},
        accepted=accepted,
        reason="as the test wants it",
    )


def arranged(*counts: ConnectionCount) -> features.Arranged:
    """The counts of a snapshot by their endpoints."""
    stored = [StoredCount(key_id=number, count=each, first_seen=START) for number, each in enumerate(counts)]
    with create_engine("sqlite://").connect() as connection:
        return features.arrange(stored, facts.look_up(Subjects(connection, 1), stored))


def usual(hour_fraction: int = 0) -> tuple[ConnectionCount, ...]:
    """What the quiet host does in a snapshot: three logins onward and a check, and every hour an update."""
    ssh = count("10.0.4.12", 22, attempted=3, established=3)
    update = count("151.101.2.132", 443, executable="/usr/bin/apt", user="root", login_user=None)
    check = count("10.0.8.1", 443, executable="/usr/bin/check", user="monitor", login_user=None)
    return (ssh, check, update) if hour_fraction % 12 == 0 else (ssh, check)


@pytest.fixture(scope="session")
def _quiet_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "quiet.db"
    engine = open_store(f"sqlite:///{path}")
    upgrade(engine)
    watched = Watched(engine)
    for number in range(24 * 12):
        watched.snapshot(*usual(number))
    engine.dispose()
    return path


@pytest.fixture
def quiet(_quiet_day: Path, tmp_path: Path) -> Iterator[Watched]:
    """A host after a quiet day: burn-in is just over, and a forest is in force."""
    path = tmp_path / "quiet.db"
    shutil.copy(_quiet_day, path)
    engine = open_store(f"sqlite:///{path}")
    watched = Watched(engine, Models(train_every_hours=720))
    watched.recorder.pass_time(hours=24)
    yield watched
    engine.dispose()
