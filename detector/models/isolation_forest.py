"""The isolation forest (Liu, Ting and Zhou, "Isolation Forest", ICDM 2008), by scikit-learn.

Its part is combinations: a person with an executable at an hour and a port that each are common and together are not.

Grown from what was seen alone it hardly sees them: where a feature does not vary, as in the rows of one program, no
split is about it, and beyond the range of its training all values are alike. So it is grown from what was seen beside a
background, in which features are as in other rows, or less familiar than any that was seen. There splits are, and what
was seen is dense (Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed., 14.2.4; Shi and
Horvath, "Unsupervised learning with random forest predictors", 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from detector.models.estimators import HERE
from detector.models.features import FEATURES

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.models.estimators import Estimators
    from detector.models.trees import Trees

MIN_ROWS = 256
"""The sample of one tree in the paper; with fewer rows there is no forest."""

# Rows of the background for each that was seen; the share of their features that are another row's, and of those about
# familiarity that are anything up to once in a thousand hours.
_BACKGROUND = 0.5
_EXCHANGED = 0.5
_UNFAMILIAR = 0.2
_THOUSAND_HOURS = 3.0  # as -log10
_FAMILIARITY = np.arange(FEATURES.index("user"), len(FEATURES))

_NAMED_FEATURES = 3


@dataclass(frozen=True, slots=True)
class Forest:
    """A trained forest, and what is usual in its training."""

    content: bytes | None
    """What the store keeps of it; None of one that was read from there."""
    typical: npt.NDArray[np.float32]
    """The median of each feature."""
    level: float
    """The median of the paper's score."""
    trees: Trees
    scale: float = 1.0
    """How much further what is strange stands out to it than to the first forest of the host: see `scaled`."""


def train(rows: npt.NDArray[np.float32], estimators: Estimators = HERE) -> Forest:
    """Fits a forest on rows (n, len(FEATURES)), at least MIN_ROWS of them; about 0.1 s for 20,000.

    Raises:
        EstimatorsError: the process that was to do it did not.
    """
    grown = estimators.grow(np.concatenate([rows, background(rows)]))
    level = float(np.median(_scores(grown.trees, rows)))
    return Forest(content=grown.content, typical=np.median(rows, axis=0), level=level, trees=grown.trees)


def background(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows that never were, half as many as `rows` (n, len(FEATURES)); the same each time."""
    chance = np.random.default_rng(0)
    some = rows[chance.integers(len(rows), size=int(_BACKGROUND * len(rows)))]
    others = np.take_along_axis(rows, chance.integers(len(rows), size=some.shape), axis=0)
    made: npt.NDArray[np.float32] = np.where(chance.random(some.shape) < _EXCHANGED, others, some)
    familiar = made[:, _FAMILIARITY]
    least = max(_THOUSAND_HOURS, float(rows[:, _FAMILIARITY].max()))
    unfamiliar = chance.random(familiar.shape) < _UNFAMILIAR
    made[:, _FAMILIARITY] = np.where(unfamiliar, least * chance.random(familiar.shape), familiar)
    return made


def anomaly(forest: Forest, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How much more easily than what is usual each row (n, len(FEATURES)), n at least 1, is isolated; (n,), at least 0.

    The paper's score less its median in training, 0 below that, in the units of the host's first forest.
    """
    return np.maximum(0.0, _scores(forest.trees, rows) - forest.level) / forest.scale


def scaled(forest: Forest, before: Forest, rows: npt.NDArray[np.float32], hours: npt.NDArray[np.int64]) -> Forest:
    """A new forest that measures as the one before it did, so that its calibration goes on.

    From one forest to the next the strangest row of an hour stands out by some hundredths more or less, as much as it
    differs from hour to hour. Their means over the same hours are made equal.

    Args:
        forest: the new one.
        before: the one whose hours its calibration knows.
        rows: what neither was trained on, (n, len(FEATURES)), n at least 1.
        hours: (n,) when each row was.
    """
    _, of_row = np.unique(hours, return_inverse=True)
    strangest = np.zeros((2, of_row.max() + 1))
    for each, values in zip((forest, before), strangest, strict=True):
        np.maximum.at(values, of_row, anomaly(each, rows))
    now, then = strangest.mean(axis=1).tolist()
    return replace(forest, scale=now / then) if now > 0 and then > 0 else replace(forest, scale=before.scale)


def _scores(trees: Trees, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    scores: npt.NDArray[np.float64] = 2.0 ** (-trees.paths(rows) / trees.usual)
    return scores


def contributions(forest: Forest, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """By how many splits each feature makes rows (n, len(FEATURES)) easier to isolate than what was trained on is on
    the average; of that shape. Negative: it makes them more usual. See `Trees.parts`.
    """
    return -forest.trees.parts(rows)


def strangest_features(forest: Forest, row: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """The features that make a row (len(FEATURES),) easier to isolate, strangest first; at most three."""
    (parts,) = contributions(forest, row[np.newaxis])
    order = np.argsort(-parts, kind="stable")[:_NAMED_FEATURES]
    return tuple(FEATURES[position] for position in order.tolist() if parts[position] > 0)
