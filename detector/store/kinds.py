"""Tells rows of a past apart by what a rule reads of them: what is said of one of a kind is true of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from detector.store.candidates import Candidates

    Numbers = npt.NDArray[np.int64]

_HOUR = 3_600_000_000
_WEEK_HOURS = 7 * 24
_UNKNOWN = -1
# What codes of several columns are put together into.
_MOST_CODES = 2**62


class Kinds:
    """The kinds of rows that there are, numbered from 0.

    Args:
        columns: those of counts that are read, `key_id` first.
        dated: whether the hour and the weekday matter in which a snapshot began.
    """

    def __init__(self, columns: Sequence[str], *, dated: bool) -> None:
        self._columns, self._dated = columns, dated
        self._known: dict[Any, int] = {}
        self._of_key = np.full(1, _UNKNOWN, dtype=np.int64)

    def number(self, rows: Candidates, starts: Numbers) -> tuple[Numbers, Numbers]:
        """The kind of each row, and the rows with which a kind comes for the first time, in the order of these.

        Args:
            rows: some rows.
            starts: when the snapshot of each began, in microseconds since 1970.
        """
        if len(self._columns) == 1 and not self._dated and rows.said is None:
            return self._of_keys(rows.columns[self._columns[0]])
        values = [rows.columns[name] for name in self._columns]
        if self._dated:
            values.append(starts // _HOUR % _WEEK_HOURS)
        if rows.said is not None:
            places: dict[Any, int] = {}
            values.append(np.array([places.setdefault(said, len(places)) for said in rows.said], dtype=np.int64))
        _, firsts, which = np.unique(_codes(values), return_index=True, return_inverse=True)
        several: Iterable[tuple[Any, ...]] = zip(*(column[firsts].tolist() for column in values), strict=True)
        if rows.said is not None:
            words = list(places)
            several = ((*each[:-1], words[each[-1]]) for each in several)
        kinds, new = np.empty(len(firsts), dtype=np.int64), []
        for place, (each, first) in enumerate(zip(several, firsts.tolist(), strict=True)):
            if each not in self._known:
                self._known[each] = len(self._known)
                new.append(first)
            kinds[place] = self._known[each]
        return kinds[which], np.array(new, dtype=np.int64)

    def _of_keys(self, keys: Numbers) -> tuple[Numbers, Numbers]:
        """The same, where keys alone matter."""
        largest = int(keys.max(initial=0))
        if largest >= len(self._of_key):
            more = np.full(2 * largest + 1 - len(self._of_key), _UNKNOWN, dtype=np.int64)
            self._of_key = np.concatenate((self._of_key, more))
        new = np.flatnonzero(self._of_key[keys] == _UNKNOWN)
        unknown, firsts = np.unique(keys[new], return_index=True)
        before = len(self._known)
        self._known.update((key, before + place) for place, key in enumerate(unknown.tolist()))
        self._of_key[unknown] = np.arange(before, before + len(unknown))
        return self._of_key[keys], new[firsts]


def _codes(columns: Sequence[Numbers]) -> Numbers:
    """A number for each row, the same for those that are alike in all columns."""
    codes, most = np.zeros(len(columns[0]), dtype=np.int64), 1
    for column in columns:
        least, largest = int(column.min(initial=0)), int(column.max(initial=0))
        numbers = column - least
        if most * (largest - least + 1) >= _MOST_CODES:
            _, numbers = np.unique(column, return_inverse=True)
            _, codes = np.unique(codes, return_inverse=True)
            least, largest, most = 0, len(column), len(column)
        most *= largest - least + 1
        codes = codes * (largest - least + 1) + numbers
    return codes
