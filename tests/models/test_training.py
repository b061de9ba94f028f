"""When forests are trained, by whom, and what becomes of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, select

from detector.config import Models
from detector.models import isolation_forest, registry, training
from detector.models.registry import State
from detector.store.engine import reading, writing
from detector.store.tables import model_trainings, models
from tests.builders import count
from tests.models.conftest import Watched

if TYPE_CHECKING:
    from datetime import datetime

    import pytest
    from sqlalchemy import Engine


def _due(watched: Watched, now: datetime) -> list[str]:
    with reading(watched.engine) as connection:
        return [host for _, host in training.due(connection, watched.settings, now)]


def _later(watched: Watched) -> datetime:
    return watched.recorder.now + timedelta(days=1)


def test_training_waits_for_enough_rows_and_then_keeps_its_rhythm(sqlite_engine: Engine) -> None:
    """The first forest comes after burn-in with 256 rows beside those held back, the next after train_every_hours of
    observed time.
    """
    watched = Watched(sqlite_engine, Models(burn_in_hours=5, train_every_hours=2), interval=timedelta(minutes=20))
    newest = []
    for _ in range(28):
        watched.snapshot(*(count(f"10.0.4.{n}", 22) for n in range(30)))
        with reading(sqlite_engine) as connection:
            found = registry.versions(connection, 1)
        newest.append(found[0].version if found else 0)
    first = newest.index(1)
    assert (first + 1) * 30 >= isolation_forest.MIN_ROWS * 5 / 4
    assert newest.index(2) == first + 6


def test_what_stood_in_the_way_is_noted_and_tried_again(sqlite_engine: Engine) -> None:
    """After ten minutes, and not with every snapshot."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=0), interval=timedelta(minutes=5))
    watched.snapshot(count())
    with reading(sqlite_engine) as connection:
        assert training.obstacle(connection, 1) == "1 rows to train on, of at least 256"
    assert _due(watched, watched.recorder.now + timedelta(minutes=5)) == []
    assert _due(watched, watched.recorder.now + timedelta(minutes=11)) == ["bastion-1"]


def test_a_host_is_trained_by_one_worker_at_a_time(quiet: Watched) -> None:
    """Who comes second is told so; a claim of a worker that died ends by itself."""
    now = _later(quiet)
    with writing(quiet.engine) as connection:
        until = training.claim(connection, 1, now)
        assert until is not None
        assert training.claim(connection, 1, now) is None
        assert training.is_claimed(connection, 1, until)
        again = training.claim(connection, 1, until + timedelta(seconds=1))
        assert again is not None
        assert not training.is_claimed(connection, 1, until)


def test_nobody_is_due_while_it_is_claimed(sqlite_engine: Engine) -> None:
    """And the host is due again when the claim has ended without a forest."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=0), interval=timedelta(minutes=5))
    watched.snapshot(count())
    now = _later(watched)
    with writing(sqlite_engine) as connection:
        until = training.claim(connection, 1, now)
    assert until is not None
    assert _due(watched, now) == []
    assert _due(watched, until + timedelta(seconds=1)) == ["bastion-1"]


def test_the_newest_rows_are_held_back(quiet: Watched) -> None:
    """A fifth: the forest is trained on those before, and says so."""
    with writing(quiet.engine) as connection:
        material = training.gather(connection, 1, quiet.settings)
        trained = training.train(material, _later(quiet))
    rows = len(material.sample)
    assert trained.rows == rows - rows // 5
    assert trained.figures["held_back"] == rows // 5
    assert trained.trained_until.timestamp() <= material.sample.at[trained.rows]
    assert trained.trained_from.timestamp() == material.sample.at[0]


def test_a_forest_that_does_worse_is_kept_and_refused(quiet: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in force goes on, and the refused one is stored with figures and reason."""
    now = _later(quiet)
    # A forest that was trained on nothing but noise.
    chance = np.random.default_rng(0)
    fit = isolation_forest.train
    monkeypatch.setattr(
        isolation_forest, "train", lambda rows, _: fit(chance.normal(size=rows.shape).astype("float32") * 9)
    )
    with writing(quiet.engine) as connection:
        material = training.gather(connection, 1, quiet.settings)
        outcome = training.finish(connection, material, training.train(material, now))
        refused, current = registry.versions(connection, 1)
    assert (outcome.version, outcome.accepted) == (2, False)
    assert (refused.state, current.state) == (State.REFUSED, State.IN_FORCE)
    assert refused.reason == outcome.reason
    assert "less well" in outcome.reason or "strange to it" in outcome.reason
    assert refused.figures is not None
    assert refused.figures["in_force"]["version"] == 1
    assert _due(quiet, now + timedelta(days=1)) == []


def test_nothing_is_stored_when_another_was_put_in_force_meanwhile(quiet: Watched) -> None:
    """It was compared with another one; that is said, and it is trained again."""
    now = _later(quiet)
    with writing(quiet.engine) as connection:
        material = training.gather(connection, 1, quiet.settings)
        trained = training.train(material, now)
        training.finish(connection, material, trained)
        outcome = training.finish(connection, material, trained)
        assert len(registry.versions(connection, 1)) == 2
    assert outcome.version is None
    assert outcome.reason == "another one was put in force meanwhile"


def test_training_changes_nothing_that_scoring_writes(quiet: Watched) -> None:
    """What is trained while a snapshot is scored takes nothing of the snapshot back."""
    with reading(quiet.engine) as connection:
        material = training.gather(connection, 1, quiet.settings)
    trained = training.train(material, _later(quiet))
    quiet.snapshot(count())
    seconds = quiet.learning.elapsed_seconds
    with writing(quiet.engine) as connection:
        training.finish(connection, material, trained)
    quiet.snapshot(count())
    assert quiet.learning.elapsed_seconds == seconds + 300
    with reading(quiet.engine) as connection:
        noted = connection.scalar(select(model_trainings.c.trained_seconds))
    assert noted == material.observed_seconds


def test_a_forest_that_is_gone_is_replaced_at_once(quiet: Watched) -> None:
    """The rhythm is for hosts that have one."""
    with writing(quiet.engine) as connection:
        connection.execute(delete(models))
    assert _due(quiet, _later(quiet)) == ["bastion-1"]
    quiet.snapshot(count())
    with reading(quiet.engine) as connection:
        assert registry.in_force(connection, 1) is not None
