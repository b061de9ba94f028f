"""The figures that detection is judged by, beside those of others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from detector.evaluation.figures import most_likely, pr_auc, roc_auc

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 30.0])), min_size=1, max_size=60)


@given(_ROWS)
def test_areas_are_those_of_scikit_learn(rows: Sequence[tuple[bool, float]]) -> None:
    """With ties, and whatever the order of the rows."""
    truth, surprise = [of_attack for of_attack, _ in rows], [value for _, value in rows]
    if any(truth):
        assert pr_auc(truth, surprise) == pytest.approx(average_precision_score(truth, surprise))
    else:
        assert math.isnan(pr_auc(truth, surprise))
    if any(truth) and not all(truth):
        assert roc_auc(truth, surprise) == pytest.approx(roc_auc_score(truth, surprise))
    else:
        assert math.isnan(roc_auc(truth, surprise))


@pytest.mark.parametrize(("events", "bound"), [(0, 2.996), (1, 4.744), (5, 10.513), (100, 118.08)])
def test_the_bound_on_what_was_seen_is_that_of_the_tables(events: int, bound: float) -> None:
    """Of none a mean of 3.0 is still possible (Garwood 1936, one-sided 95 %)."""
    assert most_likely(events) == pytest.approx(bound, abs=0.01)
