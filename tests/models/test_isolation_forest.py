"""The isolation forest."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skops import io
from sqlalchemy import delete, insert

from detector.models import isolation_forest, samples
from detector.models.estimators import TRUSTED_TYPES
from detector.models.features import FEATURES
from detector.store.engine import reading, writing
from detector.store.tables import model_channels
from tests.builders import count
from tests.models.conftest import Watched, usual


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
    assert forest.content is not None
    estimator = io.loads(forest.content, trusted=TRUSTED_TYPES)
    theirs = np.maximum(0.0, -estimator.score_samples(asked) - forest.level)
    assert np.allclose(isolation_forest.anomaly(forest, asked), theirs, rtol=0, atol=1e-12)


def test_training_is_deterministic() -> None:
    """The same rows make the same forest, in any worker."""
    rows = np.random.default_rng(0).normal(size=(400, len(FEATURES))).astype(np.float32)
    one, other = (isolation_forest.anomaly(isolation_forest.train(rows), rows).tolist() for _ in range(2))
    assert one == other


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
@settings(max_examples=15)
def test_contributions_sum_up(seed: int, values: int) -> None:
    """What the features add to a row's path is its path, less the mean of all that was trained on; whatever the row."""
    chance = np.random.default_rng(seed)
    trained = chance.integers(0, values, size=(400, len(FEATURES))).astype(np.float32)
    asked = np.concatenate([trained[:20], chance.normal(scale=2 * values, size=(20, len(FEATURES))).astype(np.float32)])
    forest = isolation_forest.train(trained)
    parts = isolation_forest.contributions(forest, asked)
    mean = forest.trees.path[forest.trees.roots].mean()
    assert parts.shape == asked.shape
    assert np.allclose(mean - parts.sum(axis=1), forest.trees.paths(asked))


def test_what_never_varied_contributes_nothing() -> None:
    """A feature that was the same in all of training says nothing about any row."""
    rows = np.random.default_rng(5).normal(size=(400, len(FEATURES))).astype(np.float32)
    rows[:, 3] = 7.0
    other = rows[:10].copy()
    other[:, 3] = 8.0
    assert not isolation_forest.contributions(isolation_forest.train(rows), other)[:, 3].any()


def test_beyond_the_range_of_training_a_forest_tells_no_sizes_apart() -> None:
    """Which is why sizes are no features, and bursts the volume channel's: see docs/models.md."""
    rows = np.random.default_rng(6).uniform(0, 1, size=(400, len(FEATURES))).astype(np.float32)
    some, more = (np.full((1, len(FEATURES)), size, dtype=np.float32) for size in (4.0, 2e6))
    forest = isolation_forest.train(rows)
    assert isolation_forest.anomaly(forest, some) == isolation_forest.anomaly(forest, more)


def test_many_rows_score_as_each_alone() -> None:
    """However many are scored at once."""
    rows = np.random.default_rng(7).normal(size=(2500, len(FEATURES))).astype(np.float32)
    forest = isolation_forest.train(rows)
    alone = [float(isolation_forest.anomaly(forest, rows[n : n + 1])[0]) for n in range(0, 2500, 97)]
    assert isolation_forest.anomaly(forest, rows)[::97].tolist() == alone


def test_a_combination_that_decides_is_explained(quiet: Watched) -> None:
    """On a host whose hours are all alike, a known program of another person is told as the combination it is."""
    with writing(quiet.engine) as connection:
        isolation = (model_channels.c.host_id == 1) & (model_channels.c.channel == "isolation")
        connection.execute(delete(model_channels).where(isolation))
        regular = {"maximum": 0.0, "threshold": 0.01, "exceedance": 0.05, "scale": 0.01}
        connection.execute(insert(model_channels).values(host_id=1, channel="isolation", **regular))
    (observed,) = quiet.would_say(count("10.0.4.12", 22, user=None, login_user=None))
    assert observed.channel == "forest"
    assert observed.explanation is not None
    assert observed.explanation.startswith("unusual combination: ")


def test_what_is_strange_is_not_trained_on(quiet: Watched) -> None:
    """Rows that deserve a person's attention do not become part of what is normal."""

    def size() -> int:
        with reading(quiet.engine) as connection:
            return samples.size(connection, 1, capacity=quiet.settings.train_rows, most=10_000)

    before = size()
    quiet.snapshot(*(count("10.0.4.12", port) for port in range(5000, 5050)))
    assert size() == before
    quiet.snapshot(*usual(1))
    assert before < size() <= before + 2


def test_a_new_forest_measures_as_the_one_before_it_did() -> None:
    """The strangest rows of the same hours stand out by as much to both, so that its calibration goes on."""
    chance = np.random.default_rng(8)
    rows = chance.normal(size=(1200, len(FEATURES))).astype(np.float32)
    hours = np.repeat(np.arange(12), 25)
    before = isolation_forest.train(rows[:400])
    grown = isolation_forest.train(np.concatenate([rows[:900], 0.3 * rows[:900]]))
    forest = isolation_forest.scaled(grown, before, rows[900:], hours)
    strangest = [isolation_forest.anomaly(each, rows[900:]).reshape(12, 25).max(axis=1) for each in (before, forest)]
    assert abs(isolation_forest.anomaly(grown, rows[900:]).max() / strangest[0].max() - 1) > 0.05
    assert np.isclose(*(each.mean() for each in strangest))
    again = isolation_forest.scaled(grown, forest, rows[900:], hours)
    assert np.isclose(again.scale, forest.scale)
