"""The curves of a judgement, as points: drawn by `report` and `picture`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.evaluation.results import RECALLS, mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import Severity
    from detector.evaluation.results import Episode, Result

Point = tuple[float, float]
COLOURS = ("#0b62a4", "#c0392b", "#1e8449", "#8e44ad", "#b9770e", "#117a65", "#7b241c", "#34495e")
"""Of the lines of a figure, in their order; no figure has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """One figure: lines from 0 to 1 upwards. Names are as they came, from manifests too."""

    title: str
    across: str
    up: str
    lines: Sequence[tuple[str, Sequence[Point]]]
    minutes: bool = False
    """Whether what is across is log10(1 + minutes)."""

    @property
    def furthest(self) -> float:
        """The largest value across; never 0."""
        return max((x for _, points in self.lines for x, _ in points), default=1.0) or 1.0

    def mark(self, x: float) -> str:
        """A value across, for people."""
        return f"{10**x - 1:.0f}" if self.minutes else f"{x:.2g}"


def heading(title: str, result: Result) -> str:
    """What a result is of."""
    return f"{title}, snapshots of {result.seconds} s" if title else f"Snapshots of {result.seconds} s"


def curves(result: Result, least: Severity) -> list[Curves]:
    """The three figures of a result; rules below `least` count for nothing."""
    return [
        Curves(
            title="Precision against recall, mean over episodes",
            across="recall",
            up="precision",
            lines=_precision(result),
        ),
        Curves(
            title="Caught by the score against what it tells for nothing",
            across="false incidents a host and day",
            up="caught",
            lines=[("score", _operating(result))],
        ),
        Curves(
            title="Caught within minutes, by the score or a rule",
            across="minutes (logarithmic)",
            up="caught",
            lines=_within(result, least),
            minutes=True,
        ),
    ]


def _precision(result: Result) -> list[tuple[str, list[Point]]]:
    """A line for all attacks, and one for each of the first few."""
    lines = [("all", result.episodes), *list(result.attacks.items())[: len(COLOURS) - 1]]
    return [(name, [(recall, _at(of, number)) for number, recall in enumerate(RECALLS)]) for name, of in lines]


def _at(episodes: Sequence[Episode], number: int) -> float:
    return mean([each.precisions[number] for each in episodes])


def _operating(result: Result) -> list[Point]:
    """What each threshold would catch, and tell for nothing: a mean over hosts."""
    thresholds = sorted({round(each.peak, 2) for each in result.episodes} | {result.threshold})
    points = []
    for threshold in thresholds:
        false = mean([each.score_incidents(threshold) / each.days for each in result.benign])
        points.append((false, mean([each.peak > threshold for each in result.episodes])))
    return sorted(points)


def _within(result: Result, least: Severity) -> list[tuple[str, list[Point]]]:
    minutes = sorted(found for each in result.episodes if (found := each.soonest(least)) is not None)
    number = len(result.episodes)
    steps = [(math.log10(1 + at), (index + 1) / number) for index, at in enumerate(minutes)]
    return [("all", [(0.0, 0.0), *steps])]
