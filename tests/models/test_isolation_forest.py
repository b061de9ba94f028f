"""The isolation forest and its training sample."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from detector.config import Models
from detector.models import isolation_forest, registry, samples
from detector.models.features import FEATURES
from detector.store.engine import reading, writing
from detector.store.tables import model_channels
from tests.builders import count
from tests.models.conftest import Watched, usual

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _numbered(start: int, length: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.repeat(np.arange(start, start + length, dtype=np.float32)[:, np.newaxis], len(FEATURES), axis=1)


def test_a_strange_combination_is_anomalous_and_explained() -> None:
    """Of two values that are each usual, the combination that never occurs is anomalous, and both are named."""
    chance = np.random.default_rng(3)
    rows = np.zeros((2000, len(FEATURES)), dtype=np.float32)
    person, program = FEATURES.index("user"), FEATURES.index("executable_port")
    rows[:, person] = chance.integers(0, 2, 2000)
    rows[:, program] = rows[:, person]
    rows[:, [person, program]] += chance.normal(0, 0.02, (2000, 2))
    forest = isolation_forest.train(rows)
    usual_row, strange_row = rows[0], rows[0].copy()
    strange_row[person], strange_row[program] = 1.0, 0.0
    scores = isolation_forest.anomaly(forest, np.stack([usual_row, strange_row]))
    assert scores[1] > scores[0]
    assert set(isolation_forest.strangest_features(forest, strange_row)) <= {"user", "executable_port"}


@given(st.integers(0, 2**32 - 1), st.integers(isolation_forest.MIN_ROWS, 600), st.integers(1, 40))
@settings(max_examples=15)
def test_scores_are_those_of_scikit_learn(seed: int, rows: int, values: int) -> None:
    """Whatever a forest was trained on, many equal rows included, and however far from that a row is."""
    chance = np.random.default_rng(seed)
    trained = chance.integers(0, values, size=(rows, len(FEATURES))).astype(np.float32)
    asked = np.concatenate([trained[:50], chance.normal(scale=2 * values, size=(50, len(FEATURES))).astype(np.float32)])
    forest = isolation_forest.train(trained)
    assert forest.estimator is not None
    theirs = np.maximum(0.0, -forest.estimator.score_samples(asked) - 0.5)
    assert np.allclose(isolation_forest.anomaly(forest, asked), theirs, rtol=0, atol=1e-12)


def test_training_is_deterministic() -> None:
    """The same rows make the same forest, in any worker."""
    rows = np.random.default_rng(0).normal(size=(400, len(FEATURES))).astype(np.float32)
    one, other = (isolation_forest.anomaly(isolation_forest.train(rows), rows).tolist() for _ in range(2))
    assert one == other


def test_the_sample_is_bounded_and_renewed(engine: Engine) -> None:
    """The sample never holds more than its capacity, and old rows give way to new ones."""
    offered = 0
    with writing(engine) as connection:
        for start in range(0, 6000, 60):
            offered = samples.offer(connection, 1, _numbered(start, 60), offered=offered, capacity=300)
        kept = samples.read(connection, 1, capacity=300)
    assert offered == 6000
    assert kept.shape == (300, len(FEATURES))
    assert len(np.unique(kept[:, 0])) == 300
    assert kept[:, 0].mean() > 3000


def test_a_busy_moment_does_not_fill_the_sample(sqlite_engine: Engine) -> None:
    """Of a snapshot of 10,000 rows 64 are offered, from all over it."""
    with writing(sqlite_engine) as connection:
        assert samples.offer(connection, 1, _numbered(0, 10_000), offered=0, capacity=300) == 64
        kept = samples.read(connection, 1, capacity=300)
    assert kept[:, 0].max() > 9000


def test_no_rows_no_sample(sqlite_engine: Engine) -> None:
    """Nothing offered, nothing kept."""
    with writing(sqlite_engine) as connection:
        assert samples.offer(connection, 1, _numbered(0, 0), offered=7, capacity=300) == 7
        assert samples.read(connection, 1, capacity=300).shape == (0, len(FEATURES))


def test_training_waits_for_enough_rows_and_then_keeps_its_rhythm(sqlite_engine: Engine) -> None:
    """The first forest comes after burn-in with 256 rows, the next after train_every_hours of observed time."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=0, train_every_hours=2), interval=timedelta(minutes=10))
    trained = []
    for number in range(40):
        watched.snapshot(*(count(f"10.0.4.{n}", 22) for n in range(10)))
        with reading(sqlite_engine) as connection:
            newest = registry.newest(connection, 1)
        trained.append(0 if newest is None else newest.version)
        assert (number + 1) * 10 >= 256 or newest is None
    first = trained.index(1)
    assert trained.index(2) == first + 12


def test_a_combination_that_decides_is_explained(quiet: Watched) -> None:
    """On a host whose hours are all alike, a known program of another person is told as the combination it is."""
    with writing(quiet.engine) as connection:
        isolation = (model_channels.c.host_id == 1) & (model_channels.c.channel == "isolation")
        connection.execute(delete(model_channels).where(isolation))
        regular = {"maximum": 0.0, "threshold": 0.01, "exceedance": 0.05, "scale": 0.01}
        connection.execute(insert(model_channels).values(host_id=1, channel="isolation", **regular))
    (observed,) = quiet.would_say(count("10.0.4.12", 22, user="monitor", login_user="root", executable="/usr/bin/apt"))
    assert observed.channel == "forest"
    assert observed.explanation is not None
    assert observed.explanation.startswith("unusual combination: ")


def test_what_is_strange_is_not_trained_on(quiet: Watched) -> None:
    """Rows that deserve a person's attention do not become part of what is normal."""

    def size() -> int:
        with reading(quiet.engine) as connection:
            return len(samples.read(connection, 1, capacity=quiet.settings.train_rows))

    before = size()
    quiet.snapshot(*(count("10.0.4.12", port) for port in range(5000, 5050)))
    assert size() == before
    quiet.snapshot(*usual(1))
    assert before < size() <= before + 2
