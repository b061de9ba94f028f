"""Whether a new forest does no worse than the one in force."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.models import comparison, isolation_forest
from detector.models.comparison import ASPECTS, Figures, judge
from detector.models.features import FEATURES

if TYPE_CHECKING:
    import numpy.typing as npt


def _habits(rows: int, seed: int, *, kept: bool = True) -> npt.NDArray[np.float32]:
    """Rows in which who, where and when go together, as they do where two people have their own habits; or do not."""
    chance = np.random.default_rng(seed)
    made = chance.normal(0, 0.05, size=(rows, len(FEATURES)))
    same = chance.integers(0, 2, rows)
    for names in ASPECTS.values():
        habit = same if kept else chance.integers(0, 2, rows)
        made[:, [FEATURES.index(name) for name in names]] += habit[:, np.newaxis]
    return made.astype(np.float32)


def test_every_feature_but_the_outcome_is_about_something() -> None:
    """Each is in one aspect, so that no combination is left out of the comparison."""
    named = [name for names in ASPECTS.values() for name in names]
    assert len(set(named)) == len(named)
    assert set(FEATURES) - set(named) == {"failed_share"}


def test_planted_combinations_are_made_of_what_was() -> None:
    """Each column holds the values it had; only together they never were."""
    rows = _habits(300, seed=0)
    planted = comparison.plant(rows)
    assert planted.shape == (3 * len(rows), len(FEATURES))
    for part in np.split(planted, 3):
        assert np.array_equal(np.sort(part, axis=0), np.sort(rows, axis=0))
        assert not np.array_equal(part, rows)
    assert np.array_equal(planted, comparison.plant(rows))


def test_a_forest_that_knows_the_habits_separates() -> None:
    """And one that was trained where nothing goes together does not, which has it refused."""
    kept = _habits(200, seed=2)
    good, poor = (
        comparison.measure(isolation_forest.train(_habits(800, seed=1, kept=habits)), kept, strange_from=0.2)
        for habits in (True, False)
    )
    assert good.separated > poor.separated + 0.05
    assert judge(good, poor).accepted
    refused = judge(poor, good)
    assert not refused.accepted
    assert refused.reason.startswith("it tells combinations that never were from usual rows less well: 0.")


def test_a_forest_to_which_the_present_is_strange_is_refused() -> None:
    """Since it would alert on what has become usual, which one that was trained on it does not."""
    old, kept = _habits(800, seed=3), _habits(200, seed=5) + 3
    knows = comparison.measure(isolation_forest.train(np.concatenate([old, kept + 0.01])), kept, strange_from=0.15)
    stale = comparison.measure(isolation_forest.train(old), kept, strange_from=0.15)
    assert stale.beyond > 0.9
    assert judge(knows, replace(stale, separated=knows.separated)).accepted
    refused = judge(replace(stale, separated=knows.separated), knows)
    assert not refused.accepted
    assert refused.reason.startswith("more of what is usual is strange to it: 1.000 against 0.")


def test_what_people_said_decides_too() -> None:
    """A forest to which true alerts are less strange, or benign ones stranger, is refused, but not by chance."""
    stands = Figures(held_back=400, separated=0.8, beyond=0.0, true_rows=9, true=0.95, benign_rows=9, benign=0.55)
    assert judge(replace(stands, true=0.93, benign=0.57), stands).accepted
    less = judge(replace(stands, true=0.7), stands)
    assert (less.accepted, less.reason) == (False, "what people called true is less strange to it: 0.700 against 0.950")
    more = judge(replace(stands, benign=0.8), stands)
    assert (more.accepted, more.reason) == (False, "what people called benign is stranger to it: 0.800 against 0.550")
    unknown = Figures(held_back=400, separated=0.8, beyond=0.0)
    assert judge(unknown, stands).accepted
    assert judge(stands, unknown).accepted


def test_rows_that_people_spoke_of_are_measured() -> None:
    """Combinations that never were are stranger than what was, as people say."""
    kept, strange = _habits(200, seed=2), _habits(40, seed=9, kept=False)
    told = comparison.Told(true=strange, benign=_habits(40, seed=7))
    figures = comparison.measure(isolation_forest.train(_habits(800, seed=1)), kept, strange_from=0.2, told=told)
    assert (figures.true_rows, figures.benign_rows) == (40, 40)
    assert figures.true is not None
    assert figures.benign is not None
    assert figures.true > figures.benign + 0.1


def test_the_first_one_is_accepted() -> None:
    """There is nothing to compare it with."""
    assert judge(Figures(held_back=60, separated=0.1, beyond=0.9), None).accepted


@given(st.integers(51, 2000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_of_two_forests_one_may_always_stand(
    rows: int, area: float, other_area: float, beyond: float, other_beyond: float
) -> None:
    """What is better or equal in both is accepted; a comparison never depends on more than the figures."""
    better = Figures(held_back=rows, separated=max(area, other_area), beyond=min(beyond, other_beyond))
    worse = Figures(held_back=rows, separated=min(area, other_area), beyond=max(beyond, other_beyond))
    assert judge(better, worse).accepted
    assert judge(better, better).accepted


def test_the_area_is_that_of_all_pairs() -> None:
    """Counted one by one, ties as halves."""
    chance = np.random.default_rng(8)
    one, other = chance.integers(0, 9, 50).astype(float), chance.integers(0, 7, 40).astype(float)
    pairs = [(a > b) + (a == b) / 2 for a in one for b in other]
    assert abs(comparison._area(one, other) - sum(pairs) / len(pairs)) < 1e-12
