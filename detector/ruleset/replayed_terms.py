"""`new_terms` over a long past: what live detection would have called new, from what was there before and then on.

A combination of values can only be new in the first of some snapshots of one day that has it, so that few rows need a
look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from detector.ruleset.matched import Taken
    from detector.ruleset.new_terms import NewTerms, Values

    Numbers = npt.NDArray[np.int64]

MISSING = -1
"""A combination of which a value is missing: it is never new."""
_NEVER = np.iinfo(np.int64).min
_DAY_US = 24 * 3_600_000_000
_MICROSECONDS = 1_000_000


class ReplayedTerms:
    """When each combination was there last.

    Args:
        terms: what is asked for.
        last: by combination the last day on which it was there, before the first snapshot that is looked at.
    """

    def __init__(self, terms: NewTerms, last: Mapping[Values, int]) -> None:
        self._window = round(terms.window.total_seconds() * _MICROSECONDS)
        self._numbers = {values: number for number, values in enumerate(last)}
        self._last = np.array(list(last.values()), dtype=np.int64)

    def number(self, values: Values) -> int:
        """What stands for a combination."""
        return MISSING if None in values else self._numbers.setdefault(values, len(self._numbers))

    def new(self, taken: Taken, which: Numbers, combinations: Numbers) -> npt.NDArray[np.bool_]:
        """Notes the next snapshots; says of each of their rows whether its combination is new there.

        Args:
            taken: the snapshots.
            which: of each row its snapshot, by its place in `taken`.
            combinations: what stands for the combination of each row.
        """
        missing = len(self._numbers) - len(self._last)
        self._last = np.concatenate((self._last, np.full(missing, _NEVER, dtype=np.int64)))
        found = np.zeros(len(which), dtype=np.bool_)
        days = taken.starts // _DAY_US
        # Where one day ends and another begins, and where a clock was set back over midnight.
        turns = np.flatnonzero(np.diff(days)) + 1
        for first, after in zip((0, *turns.tolist()), (*turns.tolist(), len(days)), strict=True):
            rows = slice(*np.searchsorted(which, (first, after)).tolist())
            found[rows] = self._new_of_day(taken, int(days[first]), which[rows], combinations[rows])
        return found

    def _new_of_day(self, taken: Taken, day: int, which: Numbers, combinations: Numbers) -> npt.NDArray[np.bool_]:
        there, firsts = np.unique(combinations, return_index=True)
        there, firsts = there[there != MISSING], firsts[there != MISSING]
        first = which[firsts]
        since = (taken.starts[first] - self._window) // _DAY_US
        new = self._last[there] < since
        # By combination the snapshot in which it is new.
        where = np.full(len(self._last) + 1, -1, dtype=np.int64)
        where[there[new]] = first[new]
        self._last[there] = np.maximum(self._last[there], day)
        return np.asarray(where[combinations] == which)
