"""Forests are trained beside detection."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update

from detector.config import Models
from detector.models import isolation_forest, registry, training
from detector.service.training import Training, train_host
from detector.store.engine import reading, writing
from detector.store.tables import model_trainings
from tests.builders import Lines, count
from tests.models.conftest import Watched

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sqlalchemy import Engine

    from detector.models.estimators import Estimators

_SETTINGS = Models(burn_in_hours=0)


def _learnt(engine: Engine) -> Watched:
    """A host with enough to train on, whose scorer leaves that to others."""
    watched = Watched(engine, _SETTINGS, interval=timedelta(minutes=30))
    watched.restart(trains=False)
    for number in range(24):
        watched.snapshot(*(count(f"10.0.4.{n}", 22 + number % 3, user=f"user-{n % 5}") for n in range(20)))
    return watched


def _in_force(engine: Engine) -> int | None:
    with reading(engine) as connection:
        found = registry.in_force(connection, 1)
    return found.version if found else None


def test_what_is_due_is_trained_and_used_from_the_next_snapshot_on(engine: Engine) -> None:
    """By another worker than the one that scores, and said in a line."""
    watched, said = _learnt(engine), Lines()
    assert all(each.p_forest is None for each in watched.snapshot(count()))

    Training(engine, _SETTINGS, threading.Event(), said).round()

    assert said.lines == ["bastion-1: forest 1 is in force: the first one that can be used"]
    assert all(each.p_forest is not None for each in watched.snapshot(count()))
    Training(engine, _SETTINGS, threading.Event(), said).round()
    assert len(said.lines) == 1


def test_detection_goes_on_while_a_forest_is_trained(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is locked meanwhile, not even in SQLite, which lets one write at a time."""
    watched = _learnt(sqlite_engine)
    begun, goes_on = threading.Event(), threading.Event()
    fit = isolation_forest.train

    def slow(rows: npt.NDArray[np.float32], estimators: Estimators) -> isolation_forest.Forest:
        begun.set()
        assert goes_on.wait(10)
        return fit(rows, estimators)

    monkeypatch.setattr(isolation_forest, "train", slow)
    worker = threading.Thread(target=train_host, args=(sqlite_engine, 1, _SETTINGS))
    worker.start()
    assert begun.wait(10)
    seconds = watched.learning.elapsed_seconds
    watched.snapshot(count())
    assert watched.learning.elapsed_seconds == seconds + 1800
    goes_on.set()
    worker.join(10)
    assert _in_force(sqlite_engine) == 1


def test_several_workers_train_a_host_once(engine: Engine) -> None:
    """Of four that begin at the same moment three leave it to the other."""
    _learnt(engine)
    outcomes: list[training.Outcome | None] = []
    workers = [threading.Thread(target=lambda: outcomes.append(train_host(engine, 1, _SETTINGS))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    # One that begins after the first has ended trains again.
    trained = [each for each in outcomes if each is not None]
    assert len(outcomes) == 4
    assert trained
    with reading(engine) as connection:
        assert len(registry.versions(connection, 1)) == len(trained)


def test_a_worker_that_dies_leaves_nothing_behind(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had claimed is another one's after ten minutes, and no forest is half stored."""
    _learnt(sqlite_engine)
    fit = isolation_forest.train
    monkeypatch.setattr(isolation_forest, "train", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_host(sqlite_engine, 1, _SETTINGS)
    monkeypatch.setattr(isolation_forest, "train", fit)
    assert train_host(sqlite_engine, 1, _SETTINGS) is None
    with writing(sqlite_engine) as connection:
        until = connection.scalar(select(model_trainings.c.claimed_until))
        assert until is not None
        connection.execute(update(model_trainings).values(claimed_until=until - timedelta(minutes=11)))
    outcome = train_host(sqlite_engine, 1, _SETTINGS)
    assert outcome is not None
    assert outcome.version == 1


def test_who_lost_the_claim_stores_nothing(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was stopped for longer than its claim lasted finds another one's forest, and leaves it."""
    _learnt(sqlite_engine)
    fit = isolation_forest.train

    def overtaken(rows: npt.NDArray[np.float32], estimators: Estimators) -> isolation_forest.Forest:
        monkeypatch.setattr(isolation_forest, "train", fit)
        with writing(sqlite_engine) as connection:
            connection.execute(update(model_trainings).values(claimed_until=None))
        assert train_host(sqlite_engine, 1, _SETTINGS) is not None
        return fit(rows, estimators)

    monkeypatch.setattr(isolation_forest, "train", overtaken)
    assert train_host(sqlite_engine, 1, _SETTINGS) is None
    with reading(sqlite_engine) as connection:
        assert [each.version for each in registry.versions(connection, 1)] == [1]


def _interrupted(rows: npt.NDArray[np.float32], estimators: Estimators) -> isolation_forest.Forest:  # noqa: ARG001
    raise KeyboardInterrupt
