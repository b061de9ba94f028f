"""Whether a new forest does no worse than the one in force.

Both are tried on rows that were held back from the training of the new one: the newest of the sample. These
figures count.

- `separated`: how well it tells combinations that never were from rows that were. The former are planted: of each row
  held back, the columns about who it was, where it went or when it was are taken from another row. The figure is the
  area under the ROC curve, the share of pairs of a planted row and one that was in which the planted one is stranger.
- `beyond`: the share of the rows held back that would be strange, once in ten hours or less, by the calibration in
  force. They are usual: what is strange is not in the sample. A large share means false alerts.

- `true` and `benign`: the same area as `separated`, of rows behind alerts of which a person said so, in place of
  planted ones. What was true should be stranger than what is usual, and what was benign no stranger. Without such rows
  there is no figure.

All are of some rows and differ by chance; a forest is worse when it is by more than chance explains: by a
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
    true_rows: int = 0
    true: float | None = None
    benign_rows: int = 0
    benign: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For the store."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Rows behind alerts of which people said what they were, each (n, len(FEATURES))."""

    true: npt.NDArray[np.float32]
    benign: npt.NDArray[np.float32]


NOTHING_TOLD = Told(
    true=np.zeros((0, len(FEATURES)), dtype=np.float32), benign=np.zeros((0, len(FEATURES)), dtype=np.float32)
)


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


def measure(
    forest: Forest, kept: npt.NDArray[np.float32], *, strange_from: float, told: Told = NOTHING_TOLD
) -> Figures:
    """The figures of a forest.

    Args:
        forest: what to try.
        kept: the rows held back, (n, len(FEATURES)), n at least 1.
        strange_from: the anomaly that one benign hour in ten holds, by the calibration in force.
        told: what people said of alerts.
    """
    usual = isolation_forest.anomaly(forest, kept)

    def area(rows: npt.NDArray[np.float32]) -> float | None:
        return _area(isolation_forest.anomaly(forest, rows), usual) if len(rows) else None

    return Figures(
        held_back=len(kept),
        separated=area(plant(kept)) or 0.0,
        beyond=float(np.mean(usual > strange_from)),
        true_rows=len(told.true),
        true=area(told.true),
        benign_rows=len(told.benign),
        benign=area(told.benign),
    )


def judge(candidate: Figures, in_force: Figures | None) -> Verdict:
    """Whether a candidate may take the place of the one in force; of the first one nothing is asked."""
    if in_force is None:
        return Verdict(accepted=True, reason="the first one that can be used")
    separated = f"{candidate.separated:.3f} against {in_force.separated:.3f}"
    planted = len(ASPECTS) * in_force.held_back
    if candidate.separated < in_force.separated - _area_error(in_force.separated, planted, in_force.held_back):
        return Verdict(
            accepted=False, reason=f"it tells combinations that never were from usual rows less well: {separated}"
        )
    allowed = max(in_force.beyond, _FEW)
    beyond = f"{candidate.beyond:.3f} against {in_force.beyond:.3f}"
    if candidate.beyond > allowed + 2 * math.sqrt(allowed * (1 - allowed) / candidate.held_back):
        return Verdict(accepted=False, reason=f"more of what is usual is strange to it: {beyond}")
    reason = f"it does no worse: separates {separated}, strange though usual {beyond}"
    if candidate.true is not None and in_force.true is not None:
        true = f"{candidate.true:.3f} against {in_force.true:.3f}"
        if candidate.true < in_force.true - _area_error(in_force.true, in_force.true_rows, in_force.held_back):
            return Verdict(accepted=False, reason=f"what people called true is less strange to it: {true}")
        reason += f", true alerts {true}"
    if candidate.benign is not None and in_force.benign is not None:
        benign = f"{candidate.benign:.3f} against {in_force.benign:.3f}"
        if candidate.benign > in_force.benign + _area_error(in_force.benign, in_force.benign_rows, in_force.held_back):
            return Verdict(accepted=False, reason=f"what people called benign is stranger to it: {benign}")
        reason += f", benign ones {benign}"
    return Verdict(accepted=True, reason=reason)


def _area(larger: npt.NDArray[np.float64], smaller: npt.NDArray[np.float64]) -> float:
    """The share of pairs in which the first is larger; equal ones count half (Mann and Whitney, 1947)."""
    ordered = np.sort(smaller)
    below = np.searchsorted(ordered, larger, side="left") + np.searchsorted(ordered, larger, side="right")
    return float(below.mean() / 2 / len(smaller))


def _area_error(area: float, strange: int, usual: int) -> float:
    """The standard error of the area over so many strange and usual rows (Hanley and McNeil, Radiology 143, 1982)."""
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (strange - 1) * (one - area**2) + (usual - 1) * (other - area**2)
    return math.sqrt(max(variance, 0.0) / (usual * strange))
