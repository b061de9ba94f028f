"""The isolation forest (Liu, Ting and Zhou, "Isolation Forest", ICDM 2008), by scikit-learn.

Its part is combinations: a person with an executable at an hour and a port that each are common and together are not.

Grown from what was seen alone it hardly sees them: where a feature does not vary, as in the rows of one program, no
split is about it, and beyond the range of its training all values are alike. So it is grown from what was seen beside a
background, in which features are as in other rows, or less familiar than any that was seen. There splits are, and what
was seen is dense (Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed., 14.2.4; Shi and
Horvath, "Unsupervised learning with random forest predictors", 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models.features import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator

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

# Rows of the background for each that was seen; the share of their features that are another row's, and of those about
# familiarity that are anything up to once in a thousand hours.
_BACKGROUND = 0.5
_EXCHANGED = 0.5
_UNFAMILIAR = 0.2
_THOUSAND_HOURS = 3.0  # as -log10
_FAMILIARITY = np.arange(FEATURES.index("user"), len(FEATURES))

_NAMED_FEATURES = 3
_ROWS_AT_ONCE = 1024
_TWO = 2


@dataclass(frozen=True, slots=True)
class Trees:
    """The nodes of all trees, one tree after another: what scoring needs, in a quarter of scikit-learn's memory.

    A fleet has a forest for each host.
    """

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    children: npt.NDArray[np.int32]
    """Left and right of each node in turn; leaves lead to themselves."""
    path: npt.NDArray[np.float64]
    """The mean length of the paths through each node of what the tree was grown from; of a leaf: the path to it, and
    what it would be on average from there to single rows."""
    levels: int
    usual: float
    """The average path in a tree of as many rows as each was grown from."""

    def paths(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The mean length of the paths of each row (n, len(FEATURES)); (n,)."""
        mean = np.empty(len(rows))
        # A few at a time: what is looked up then stays near the processor.
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            *_, places = self._ways(some)
            mean[start : start + _ROWS_AT_ONCE] = self.path.take(places).mean(axis=1)
        return mean

    def parts(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What each feature adds to the mean length of the paths of rows (n, len(FEATURES)); of that shape.

        A split adds to its feature by how much the mean path from there on differs from the one before: a row's parts
        sum up to its path less the mean path of all (Palczewska et al., "Interpreting random forest classification
        models using a feature contribution method", 2014).
        """
        parts = np.zeros(rows.shape)
        row = np.arange(len(rows))[:, np.newaxis]
        before: npt.NDArray[np.int32] | None = None
        for places in self._ways(rows):
            if before is not None:
                np.add.at(parts, (row, self.feature.take(before)), self.path.take(places) - self.path.take(before))
            before = places
        return parts / len(self.roots)

    def _ways(self, rows: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.int32]]:
        """The node of each row in each tree, level by level; (n, trees)."""
        places = np.repeat(self.roots[np.newaxis], len(rows), axis=0)
        yield places
        flat = np.ascontiguousarray(rows).ravel()
        first = (np.arange(len(rows), dtype=np.int32) * rows.shape[1])[:, np.newaxis]
        for _ in range(self.levels):
            larger = flat.take(first + self.feature.take(places)) > self.threshold.take(places)
            places = self.children.take(2 * places + larger)
            yield places


@dataclass(frozen=True, slots=True)
class Forest:
    """A trained forest, and what is usual in its training."""

    estimator: IsolationForest | None
    """scikit-learn's own, for the store; None of one that was read from there."""
    typical: npt.NDArray[np.float32]
    """The median of each feature."""
    level: float
    """The median of the paper's score."""
    trees: Trees


def train(rows: npt.NDArray[np.float32]) -> Forest:
    """Fits a forest on rows (n, len(FEATURES)), at least MIN_ROWS of them; about 0.1 s for 20,000."""
    from sklearn.ensemble import IsolationForest

    estimator = IsolationForest(**PARAMETERS).fit(np.concatenate([rows, background(rows)]))
    trees = trees_of(estimator)
    level = float(np.median(_scores(trees, rows)))
    return Forest(estimator=estimator, typical=np.median(rows, axis=0), level=level, trees=trees)


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


def trees_of(estimator: IsolationForest) -> Trees:
    """The trees of a forest that was fitted; children must come after their parents."""
    trees = [each.tree_ for each in estimator.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    own = np.arange(starts[-1])
    left, right = (
        np.concatenate([start + getattr(tree, side) for start, tree in zip(starts[:-1], trees, strict=True)])
        for side in ("children_left", "children_right")
    )
    leaf = np.concatenate([tree.children_left for tree in trees]) == -1
    left, right = (np.where(leaf, own, children).astype(np.int32) for children in (left, right))
    depth, levels = np.zeros(len(own)), []
    parents = starts[:-1]
    while len(parents := parents[~leaf[parents]]):
        levels.append(parents)
        parents = np.concatenate([left[parents], right[parents]])
        depth[parents] = len(levels)
    samples = np.concatenate([tree.n_node_samples for tree in trees])
    path = depth + _average_path(samples)
    for parents in reversed(levels):
        one, other = left[parents], right[parents]
        path[parents] = (samples[one] * path[one] + samples[other] * path[other]) / (samples[one] + samples[other])
    return Trees(
        roots=starts[:-1].astype(np.int32),
        feature=np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        children=np.stack([left, right], axis=1).ravel(),
        path=path,
        levels=len(levels),
        usual=float(_average_path(np.array([estimator.max_samples_]))[0]),
    )


def _average_path(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The average path to one of so many rows: c(n) of the paper."""
    several = np.maximum(rows, _TWO + 1)
    path = 2.0 * (np.log(several - 1.0) + np.euler_gamma) - 2.0 * (several - 1.0) / several
    average: npt.NDArray[np.float64] = np.where(rows > _TWO, path, np.where(rows == _TWO, 1.0, 0.0))
    return average


def anomaly(forest: Forest, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How much more easily than what is usual each row (n, len(FEATURES)), n at least 1, is isolated; (n,) from 0 to 1.

    The paper's score less its median in training; 0 below that.
    """
    return np.maximum(0.0, _scores(forest.trees, rows) - forest.level)


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
