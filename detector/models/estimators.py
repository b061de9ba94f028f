"""Grows and reads forests with scikit-learn and skops, which are used nowhere else.

A stored forest is data from outside. It is loaded by skops, which makes only the types named here, and its trees are
checked before they are used: whoever follows their node numbers does not check bounds.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol
from zipfile import ZIP_DEFLATED, BadZipFile

import numpy as np

from detector.models.features import FEATURES
from detector.models.trees import Trees, average_path
from detector.visible import visible

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
TRUSTED_TYPES = ("sklearn.tree._tree.Tree",)
"""What skops may make beyond its own list of scikit-learn's public estimators and numpy's arrays."""

_NO_FOREST = "it is not an isolation forest over these features"
_REASON_LIMIT = 300
# What skops, zipfile and scikit-learn raise on content that is damaged, crafted or of untrusted types.
_DAMAGED = (TypeError, ValueError, LookupError, AttributeError, EOFError, BadZipFile, zlib.error, ImportError)


@dataclass(frozen=True, slots=True)
class Grown:
    """A forest that was fitted."""

    content: bytes
    """What the store keeps of it."""
    trees: Trees


class Estimators(Protocol):
    """Who grows and reads forests: this process, or another (see `forest_process`)."""

    def grow(self, rows: npt.NDArray[np.float32]) -> Grown:
        """A forest fitted on rows (n, len(FEATURES)); the same for the same rows.

        Raises:
            EstimatorsError: the process that was to do it did not.
        """

    def read(self, content: bytes) -> Trees:
        """The trees of what `grow` gave for the store, which may be anything by now.

        Raises:
            EstimatorsError: the process that was to do it did not.
            ValueError: it is no such forest; with the reason, as printable text.
        """


class _Here:
    """In this process, which holds scikit-learn from then on: some 80 MB."""

    def grow(self, rows: npt.NDArray[np.float32]) -> Grown:
        from sklearn.ensemble import IsolationForest
        from skops import io

        estimator = IsolationForest(**PARAMETERS).fit(rows)
        content = io.dumps(estimator, compression=ZIP_DEFLATED, compresslevel=1)
        return Grown(content=content, trees=_trees_of(estimator))

    def read(self, content: bytes) -> Trees:
        import sklearn.ensemble
        from skops import io

        try:
            estimator = io.loads(content, trusted=TRUSTED_TYPES)
            if not isinstance(estimator, sklearn.ensemble.IsolationForest) or not _are_sound(estimator):
                raise ValueError(_NO_FOREST)
            trees = _trees_of(estimator)
        # What skops, zipfile and scikit-learn raise on content that is damaged, crafted or of untrusted types.
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            EOFError,
            BadZipFile,
            zlib.error,
            ImportError,
        ) as fault:
            reason = (str(fault).splitlines() or [type(fault).__name__])[0]
            raise ValueError(visible(reason, _REASON_LIMIT)) from fault
        if not trees.are_sound():
            raise ValueError(_NO_FOREST)
        return trees


HERE: Estimators = _Here()
"""This process."""


def library() -> str:
    """The version of scikit-learn that is installed."""
    return version("scikit-learn")


def _trees_of(estimator: IsolationForest) -> Trees:
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
    path = depth + average_path(samples)
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
        usual=float(average_path(np.array([estimator.max_samples_]))[0]),
    )


def _are_sound(estimator: IsolationForest) -> bool:
    if estimator.n_features_in_ != len(FEATURES) or len(estimator.estimators_) != PARAMETERS["n_estimators"]:
        return False
    return all(_is_sound(each.tree_) for each in estimator.estimators_)


def _is_sound(tree: Any) -> bool:
    # Children come after their parent, so that no path is endless, and exist; leaves have none.
    if not 0 < tree.node_count <= tree.capacity:
        return False
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    own = np.arange(tree.node_count)
    return bool(
        tree.n_features == len(FEATURES)
        and np.all(right[~inner] == -1)
        and np.all((feature[inner] >= 0) & (feature[inner] < len(FEATURES)))
        and all(np.all((child[inner] > own[inner]) & (child[inner] < tree.node_count)) for child in (left, right))
    )
