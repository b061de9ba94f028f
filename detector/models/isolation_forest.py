"""The isolation forest (Liu, Ting and Zhou, "Isolation Forest", ICDM 2008), by scikit-learn.

Its part is combinations: a person with an executable at an hour and a port that each are common and together are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models.features import FEATURES

if TYPE_CHECKING:
    import numpy.typing as npt
    from sklearn.ensemble import IsolationForest

PARAMETERS: dict[str, str | int] = {
    # Moves only the offset; what is anomalous is decided by calibration.
    "contamination": "auto",
    "n_estimators": 100,
    # Fixed, so that the same rows make the same forest in every worker.
    "random_state": 20_080_000,
    # More would start threads for less than 10 ms of work.
    "n_jobs": 1,
}
MIN_ROWS = 256
"""The sample of one tree in the paper; with fewer rows there is no forest."""

_NAMED_FEATURES = 3


@dataclass(frozen=True, slots=True)
class Forest:
    """A trained forest and the median of each feature in its training."""

    estimator: IsolationForest
    typical: npt.NDArray[np.float32]


def train(rows: npt.NDArray[np.float32]) -> Forest:
    """Fits a forest on rows (n, len(FEATURES)), at least MIN_ROWS of them; about 0.1 s for 20,000."""
    from sklearn.ensemble import IsolationForest

    return Forest(estimator=IsolationForest(**PARAMETERS).fit(rows), typical=np.median(rows, axis=0))


def anomaly(forest: Forest, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How easily each row (n, len(FEATURES)), n at least 1, is isolated; (n,) from 0 to 0.5.

    The paper's score less a half, since half is what rows without any anomaly have; 0 below that.
    """
    scores: npt.NDArray[np.float64] = -forest.estimator.score_samples(rows)
    return np.maximum(0.0, scores - 0.5)


def strangest_features(forest: Forest, row: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """The features without which a row (len(FEATURES),) is less anomalous, strangest first; at most three.

    Each is replaced by its median in training, one at a time; what that takes off the anomaly is its part.
    """
    replaced = np.repeat(row[np.newaxis], len(FEATURES) + 1, axis=0)
    positions = np.arange(len(FEATURES))
    replaced[positions, positions] = forest.typical
    scores = anomaly(forest, replaced)
    parts = scores[-1] - scores[:-1]
    order = np.argsort(-parts, kind="stable")[:_NAMED_FEATURES]
    return tuple(FEATURES[position] for position in order.tolist() if parts[position] > 0)
