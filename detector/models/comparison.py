"""Whether a new forest does no worse than the one in force.

Both are tried on rows that were held back from the training of the new one: the newest of the sample. Two figures
count.

- `separated`: how well it tells combinations that never were from rows that were. The former are planted: of each row
  held back, the columns about who it was, where it went or when it was are taken from another row. The figure is the
  area under the ROC curve, the share of pairs of a planted row and one that was in which the planted one is stranger.
- `beyond`: the share of the rows held back that would be strange, once in ten hours or less, by the calibration in
  force. They are usual: what is strange is not in the sample. A large share means false alerts.

Both are of some hundred rows and differ by chance; a forest is worse when it is by more than chance explains: by a
standard error of the area, which is more than the difference varies on the same rows, or two of the share.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.models import isolation_forest
from detector.models.features import FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from detector.models.isolation_forest import Forest

ASPECTS: Mapping[str, tuple[str, ...]] = {
    "who": (
        *("switched_user", "root", "login", "container", "user", "executable"),
        *("user_executable", "executable_class", "user_network"),
    ),
    "where": ("inbound", "address_class", "port_number", "executable_port", "pair", "destination", "port"),
    "when": ("clock_sine", "clock_cosine", "user_clock_hour"),
}
"""What the features are about; those of one aspect are exchanged together."""

_HELD_BACK = 5  # one row in so many
_MOST_HELD_BACK = 2000
_FEW = 0.01  # no share up to this is worse than another


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a forest does on rows that were held back."""

    held_back: int
    separated: float
    beyond: float

    def as_json(self) -> dict[str, Any]:
        """For the store."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a forest may be put in force, and why, in words."""

    accepted: bool
    reason: str


def held_back(rows: int) -> int:
    """How many of so many rows are held back: the newest fifth, but no more than is of use.

    In the weekly rhythm of a full sample these moments come again last, and are trained on long before that.
    """
    return min(rows // _HELD_BACK, _MOST_HELD_BACK)


def plant(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Combinations that never were, made of rows (n, len(FEATURES)); (3 n, len(FEATURES)), the same each time."""
    chance = np.random.default_rng(0)
    planted = []
    for names in ASPECTS.values():
        columns = [FEATURES.index(name) for name in names]
        changed = rows.copy()
        changed[:, columns] = rows[chance.permutation(len(rows))][:, columns]
        planted.append(changed)
    return np.concatenate(planted)


def measure(forest: Forest, kept: npt.NDArray[np.float32], *, strange_from: float) -> Figures:
    """The figures of a forest.

    Args:
        forest: what to try.
        kept: the rows held back, (n, len(FEATURES)), n at least 1.
        strange_from: the anomaly that one benign hour in ten holds, by the calibration in force.
    """
    usual = isolation_forest.anomaly(forest, kept)
    planted = isolation_forest.anomaly(forest, plant(kept))
    return Figures(held_back=len(kept), separated=_area(planted, usual), beyond=float(np.mean(usual > strange_from)))


def judge(candidate: Figures, in_force: Figures | None) -> Verdict:
    """Whether a candidate may take the place of the one in force; of the first one nothing is asked."""
    if in_force is None:
        return Verdict(accepted=True, reason="the first one that can be used")
    separated = f"{candidate.separated:.3f} against {in_force.separated:.3f}"
    if candidate.separated < in_force.separated - _area_error(in_force):
        return Verdict(
            accepted=False, reason=f"it tells combinations that never were from usual rows less well: {separated}"
        )
    allowed = max(in_force.beyond, _FEW)
    beyond = f"{candidate.beyond:.3f} against {in_force.beyond:.3f}"
    if candidate.beyond > allowed + 2 * math.sqrt(allowed * (1 - allowed) / candidate.held_back):
        return Verdict(accepted=False, reason=f"more of what is usual is strange to it: {beyond}")
    return Verdict(accepted=True, reason=f"it does no worse: separates {separated}, strange though usual {beyond}")


def _area(larger: npt.NDArray[np.float64], smaller: npt.NDArray[np.float64]) -> float:
    """The share of pairs in which the first is larger; equal ones count half (Mann and Whitney, 1947)."""
    ordered = np.sort(smaller)
    below = np.searchsorted(ordered, larger, side="left") + np.searchsorted(ordered, larger, side="right")
    return float(below.mean() / 2 / len(smaller))


def _area_error(figures: Figures) -> float:
    """The standard error of the area (Hanley and McNeil, Radiology 143, 1982)."""
    area, usual, planted = figures.separated, figures.held_back, len(ASPECTS) * figures.held_back
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (planted - 1) * (one - area**2) + (usual - 1) * (other - area**2)
    return math.sqrt(max(variance, 0.0) / (usual * planted))
