"""The figures that detection is judged by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def precision_recall(
    truth: Sequence[bool], surprise: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision and recall at each distinct surprise, from the highest down.

    Args:
        truth: (n,) whether a row is the attack's.
        surprise: (n,) what was said of it.

    Returns:
        Two arrays (m,), m the number of distinct surprises.
    """
    caught, rows = _cumulated(truth, surprise)
    return caught / rows, caught / max(1, sum(truth))


def pr_auc(truth: Sequence[bool], surprise: Sequence[float]) -> float:
    """The area under the precision-recall curve, as average precision: sum of (R_n - R_n-1) P_n; nan without attack.

    As scikit-learn's `average_precision_score`: without interpolation, which would flatter.
    """
    if not any(truth):
        return math.nan
    precision, recall = precision_recall(truth, surprise)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(truth: Sequence[bool], surprise: Sequence[float]) -> float:
    """The probability that a row of the attack is stranger than one that is not, ties half; nan if one kind is missing.

    Hanley and McNeil, The meaning and use of the area under a ROC curve, 1982.
    """
    caught, rows = _cumulated(truth, surprise)
    attacks, others = sum(truth), len(truth) - sum(truth)
    if not attacks or not others:
        return math.nan
    true_rate = np.concatenate([[0.0], caught / attacks])
    false_rate = np.concatenate([[0.0], (rows - caught) / others])
    return float(np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2))


def _cumulated(
    truth: Sequence[bool], surprise: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How many rows of attacks, and how many of all, are at least as strange as each distinct surprise."""
    values = np.asarray(surprise, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    ends = np.append(np.nonzero(np.diff(ordered))[0], len(ordered) - 1) if len(ordered) else np.array([], dtype=int)
    caught = np.cumsum(np.asarray(truth, dtype=np.float64)[order])
    return caught[ends], ends + 1.0


def most_likely(events: int, confidence: float = 0.95) -> float:
    """The upper bound on a mean of which so many events were seen (Garwood, Fiducial limits for the Poisson, 1936).

    Of none it is 3.0: "0 in 1.76 days" still allows 1.7 a day.
    """
    low, high = float(events), 10.0 * (events + 1)
    while high - low > 1e-9:  # noqa: PLR2004 - by bisection, to more than anybody prints
        mean = (low + high) / 2
        few = sum(math.exp(-mean + n * math.log(mean) - math.lgamma(n + 1)) for n in range(events + 1))
        low, high = (mean, high) if few > 1 - confidence else (low, mean)
    return high
