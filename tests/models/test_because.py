"""Why the forest finds a row strange, and which normal row is most like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import delete

from detector.models import isolation_forest
from detector.models.because import Because, Explainer, in_words
from detector.models.features import FEATURES
from detector.store.engine import reading, writing
from detector.store.tables import model_samples, models
from tests.builders import count, read_counts
from tests.models.conftest import usual

if TYPE_CHECKING:
    from detector.domain import ConnectionCount
    from tests.models.conftest import Watched


def _explained(quiet: Watched, *counts: ConnectionCount) -> list[Because]:
    ref = quiet.recorder.snapshot(*counts)
    with reading(quiet.engine) as connection:
        stored = read_counts(connection, ref)
        return Explainer(connection, 1, quiet.settings).explain(ref, stored, range(len(stored)))


def test_parts_sum_up(quiet: Watched) -> None:
    """What the parts say is the whole difference between the row's path and that of what is usual."""
    for because in _explained(quiet, *usual(0), count("203.0.113.9", 4444, user="mallory", executable="/tmp/x")):
        forest = because.forest
        assert forest is not None
        assert forest.version == 1
        assert forest.mean_path - sum(part.splits for part in forest.parts) == pytest.approx(forest.path)
        assert [part.splits for part in forest.parts] == sorted((p.splits for p in forest.parts), reverse=True)
        assert len({part.about for part in forest.parts}) == len(forest.parts)
        assert 0 <= forest.anomaly <= 0.5


def test_a_strange_combination_is_told_in_units_that_people_know(quiet: Watched) -> None:
    """What was never seen beside what is usual, as hours; ports as ports."""
    (because,) = _explained(quiet, count("10.0.4.12", 22, user="root", login_user="monitor", executable="/usr/bin/apt"))
    assert because.forest is not None
    parts = {part.about: part for part in because.forest.parts}
    assert parts["the user with this executable"].seen == "in 1 hour of 50"
    assert parts["the user with this executable"].usual == "in every hour"
    assert parts["the user with this executable"].splits > 0
    assert parts["the port"].seen == "port 22, in every hour"
    assert parts["the kind of address"].seen == "private"
    assert parts["the time of day"].seen.endswith(" UTC")


def test_the_closest_normal_row_is_the_same_habit(quiet: Watched) -> None:
    """Of another time, with what differs; a usual row differs in little."""
    (ssh, check) = _explained(quiet, *usual(1))
    strange = _explained(quiet, count("10.0.4.12", 22, user="root", login_user="root"))[0].example
    assert ssh.example is not None
    assert check.example is not None
    assert strange is not None
    with reading(quiet.engine) as connection:
        first = read_counts(connection, quiet.recorder.snapshot(*usual(1)))
    keys = {stored.count.key.executable: stored.key_id for stored in first}
    assert ssh.example.key_id == keys["/usr/bin/ssh"]
    assert check.example.key_id == keys["/usr/bin/check"]
    assert ssh.example.at < quiet.recorder.now
    assert strange.distance > 2 * ssh.example.distance
    assert any(text.startswith("the user with this executable (in 1 hour of ") for text in strange.differs)


def test_without_forest_or_sample_nothing_is_made_up(quiet: Watched) -> None:
    """Each is missing by itself."""
    with writing(quiet.engine) as connection:
        connection.execute(delete(models))
    (because,) = _explained(quiet, count())
    assert because.forest is None
    assert because.example is not None
    with writing(quiet.engine) as connection:
        connection.execute(delete(model_samples))
    (because,) = _explained(quiet, count())
    assert because == Because(forest=None, example=None)


def test_explaining_changes_nothing(quiet: Watched) -> None:
    """It reads only: what the next snapshot scores is the same with and without."""
    strange = count("203.0.113.9", 4444)
    before = quiet.would_say(strange)
    _explained(quiet, strange)
    quiet.recorder.now -= quiet.recorder.interval
    assert [each.score for each in quiet.would_say(strange)] == [each.score for each in before]


@pytest.mark.parametrize("name", FEATURES)
def test_each_feature_has_words(name: str) -> None:
    """For any value that it may have."""
    for value in (0.0, 0.3, 1.0, 3.7, -0.1):
        text = in_words(name, np.full(len(FEATURES), value, dtype=np.float32))
        assert text
        assert text.isprintable()


def test_contributions_name_what_is_new_in_a_combination() -> None:
    """Of two values that are each usual and never were together, both are told before anything that is as ever."""
    chance = np.random.default_rng(3)
    rows = np.zeros((2000, len(FEATURES)), dtype=np.float32)
    person, program = FEATURES.index("user"), FEATURES.index("executable_port")
    rows[:, person] = chance.integers(0, 2, 2000)
    rows[:, program] = rows[:, person]
    rows[:, [person, program]] += chance.normal(0, 0.02, (2000, 2))
    strange = np.zeros((1, len(FEATURES)), dtype=np.float32)
    strange[0, person] = 1.0
    (parts,) = isolation_forest.contributions(isolation_forest.train(rows), strange)
    assert set(np.argsort(-parts)[:2].tolist()) == {person, program}
    assert parts[[person, program]].min() > 0
