"""`baseline` over a long past: which groups live detection would have called unusual, hour by hour."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from detector.ruleset.baselines import threshold_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.ruleset.baselines import Baseline

    Numbers = npt.NDArray[np.int64]

_HOUR_US = 3_600_000_000


@dataclass(slots=True)
class _Group:
    """What a group did: its hours, in order, what each came to, and all before each."""

    hours: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)

    def place(self, hour: int) -> int:
        """Where an hour stands, which is added if it is not there."""
        place = bisect_left(self.hours, hour)
        if place == len(self.hours) or self.hours[place] != hour:
            self.hours.insert(place, hour)
            self.totals.insert(place, 0)
            self.before.insert(place, self.before[place - 1] + self.totals[place - 1] if place else 0)
        return place

    def add(self, place: int, amount: int) -> None:
        """Adds to an hour."""
        self.totals[place] += amount
        # There are others only if the clock was set back.
        for later in range(place + 1, len(self.hours)):
            self.before[later] += amount

    def usual(self, place: int, window_hours: int) -> tuple[int, int]:
        """How many hours of the window before one had anything, and what they came to."""
        first = bisect_left(self.hours, self.hours[place] - window_hours)
        return place - first, self.before[place] - self.before[first]


class ReplayedHours:
    """What the groups of a rule did in each hour."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self._window_hours = baseline.window // timedelta(hours=1)
        self._groups: dict[int, _Group] = {}

    def unusual(self, starts: Numbers, groups: Numbers, amounts: Numbers) -> npt.NDArray[np.bool_]:
        """Takes in the next snapshots; says of each and each of its groups whether that is unusual by then.

        Args:
            starts: when the snapshot began, in microseconds since 1970; in the order of snapshots.
            groups: its group.
            amounts: what its rows add up to.
        """
        order = np.argsort(groups, kind="stable")
        group, hour, amount = groups[order], starts[order] // _HOUR_US, amounts[order]
        # What is of one group and hour, one after another.
        begins = np.flatnonzero(np.concatenate(([True], (np.diff(group) != 0) | (np.diff(hour) != 0)))).tolist()
        found = np.zeros(len(groups), dtype=np.bool_)
        for first, after in zip(begins, (*begins[1:], len(group)), strict=True) if len(group) else ():
            found[order[first:after]] = self._in_hour(int(group[first]), int(hour[first]), amount[first:after])
        return found

    def _in_hour(self, group: int, hour: int, amounts: Numbers) -> npt.NDArray[np.bool_]:
        known = self._groups.setdefault(group, _Group())
        place = known.place(hour)
        so_far = known.totals[place] + np.cumsum(amounts)
        known.add(place, int(amounts.sum()))
        return np.asarray(so_far >= threshold_of(*known.usual(place, self._window_hours), self._baseline))
