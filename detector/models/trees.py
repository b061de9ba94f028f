"""The trees of an isolation forest, as arrays: all that scoring needs, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models.features import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

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

    def are_sound(self) -> bool:
        """Whether every way through them ends at a leaf, at a feature that there is, and with a number."""
        nodes = len(self.feature)
        own = np.arange(nodes)
        lengths = {len(self.feature), len(self.threshold), len(self.path), len(self.children) // 2}
        if lengths != {nodes} or len(self.children) % 2 or not len(self.roots) or not 0 <= self.levels <= nodes:
            return False
        left, right = self.children[::2], self.children[1::2]
        leaf = (left == own) & (right == own)
        inner = (left > own) & (right > own) & (left < nodes) & (right < nodes)
        return bool(
            np.all((self.roots >= 0) & (self.roots < nodes))
            and np.all(leaf | inner)
            and np.all((self.feature >= 0) & (self.feature < len(FEATURES)))
            and np.isfinite(self.path).all()
            and np.isfinite(self.threshold).all()
            and self.usual > 0
        )

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


def average_path(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The average path to one of so many rows: c(n) of the paper."""
    several = np.maximum(rows, _TWO + 1)
    path = 2.0 * (np.log(several - 1.0) + np.euler_gamma) - 2.0 * (several - 1.0) / several
    average: npt.NDArray[np.float64] = np.where(rows > _TWO, path, np.where(rows == _TWO, 1.0, 0.0))
    return average
