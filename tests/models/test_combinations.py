"""What the isolation forest is for: combinations of what is each usual."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from detector.config import Models
from detector.models import isolation_forest
from detector.models.estimators import PARAMETERS
from detector.models.features import FEATURES
from tests.builders import count
from tests.models.conftest import Watched

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

_PEOPLE = ("alice", "bob", "carol")
_HOURS = 24 * 6
_PLACES = ("10.0.4.12", "10.0.4.13", "10.0.4.14")


def _habits(hour: int) -> tuple[ConnectionCount, ...]:
    """People log in and go on by ssh, in some hours more than in others, and install as root; a backup copies by scp; a
    container asks by curl.
    """
    backup = (
        count(each, 22, user="backup", login_user=None, executable="/usr/bin/scp", attempted=2) for each in _PLACES
    )
    times = 1 + hour % 3
    people = (count(each, 22, user=who, login_user=who, attempted=times) for who in _PEOPLE for each in _PLACES)
    installs = (count("10.0.8.2", 443, user="root", login_user=who, executable="/usr/bin/apt") for who in _PEOPLE)
    web = {"user": "www", "login_user": None, "executable": "/usr/bin/curl", "container": "web"}
    return (*backup, *people, *installs, count("10.0.8.2", 443, **web), count("10.0.4.12", 22, **web))


def _attack() -> ConnectionCount:
    """carol, as root, within the container, by scp, to where they all go every hour: only their meeting is new."""
    who = {"user": "root", "login_user": "carol", "executable": "/usr/bin/scp", "container": "web"}
    return count("10.0.4.12", 22, **who)


@pytest.fixture
def regular(sqlite_engine: Engine) -> Watched:
    """A host after six regular days, three of them burn-in; calibration is a day behind."""
    settings = Models(burn_in_hours=72, train_every_hours=720)
    watched = Watched(sqlite_engine, settings, interval=timedelta(hours=1))
    for hour in range(_HOURS):
        watched.snapshot(*_habits(hour))
    return watched


def test_a_combination_that_no_other_channel_sees_is_caught(regular: Watched) -> None:
    """Person, program, account, place and port are each met every hour. Only the forest sees that they never met, and
    by it alone the row is what six days of history can hold no more than once in two; what is usual is not.
    """
    *usual, strange = sorted(regular.would_say(*_habits(_HOURS), _attack()), key=lambda each: each.key_id)
    assert strange.p_forest is not None
    assert strange.p_forest < 1 / 1000
    assert strange.p_novelty is not None
    assert strange.p_novelty > 0.5
    assert strange.p_volume is not None
    assert strange.p_volume > 0.1
    assert strange.channel == "forest"
    assert strange.score is not None
    assert strange.score > 0.98
    assert strange.explanation is not None
    assert strange.explanation.startswith("unusual combination: ")
    assert "the user with this executable" in strange.explanation
    by_forest = [each for each in usual if each.channel == "forest"]
    assert all(each.score is not None and each.score < 0.9 for each in by_forest)


def test_the_background_is_what_never_was() -> None:
    """Half as many rows, of values that were, less those that are less familiar than any; the same each time."""
    rows = np.random.default_rng(2).integers(0, 3, size=(600, len(FEATURES))).astype(np.float32)
    made = isolation_forest.background(rows)
    first = FEATURES.index("user")
    assert made.shape == (300, len(FEATURES))
    assert np.isin(made[:, :first], rows[:, :first]).all()
    assert not np.isin(made[:, first:], rows[:, first:]).all()
    assert made[:, first:].max() <= 3.0
    assert np.array_equal(made, isolation_forest.background(rows))


def test_the_background_makes_the_difference() -> None:
    """Without it a value beyond all that was seen is as strange as the largest of it; with it, it is stranger."""
    chance = np.random.default_rng(4)
    rows = chance.normal(0, 0.02, size=(800, len(FEATURES))).astype(np.float32)
    beyond = np.median(rows, axis=0)[np.newaxis].repeat(2, axis=0)
    feature = FEATURES.index("user_executable")
    beyond[0, feature], beyond[1, feature] = rows[:, feature].max(), 2.5
    with_it = isolation_forest.anomaly(isolation_forest.train(rows), beyond)
    assert with_it[1] > with_it[0] + 0.01
    without = -IsolationForest(**PARAMETERS).fit(rows).score_samples(beyond)
    assert without[0] == without[1]
