"""What a correlation remembers of a window: a few numbers for each group, and not its rows.

A tally holds the snapshots of a window up to one of them. Groups and values stand in it as Python's hashes of 64 bits,
whose key nobody outside knows. What is remembered is the same as what the rows of the window add up to, and can be made
of them again at any time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

Entry = tuple[int, int]
"""A matching row: its group, and what it counts: how much, what stands for group and value together, or which rules
matched it, a bit for each."""

NO_VALUE = -1
"""Of a row whose value is missing: no hash is -1."""

_EMPTY: Integers = np.empty(0, dtype=np.int64)
# So many entries that are of no use any more may stay.
_DEAD = 1000


class Tally(Protocol):
    """What a window holds of a correlation."""

    leaves: bool
    """Whether `remove` has to be told what leaves the window. If not, it knows by the numbers of the snapshots."""

    @property
    def size(self) -> int:
        """How many entries it holds, some 16 to 24 bytes each."""

    def add(self, seq: int, entries: Sequence[Entry]) -> None:
        """Takes in rows of the next snapshot, or of some up to it that were counted together."""

    def remove(self, entries: Sequence[Entry]) -> None:
        """Takes out rows of snapshots that have left the window."""

    def passing(self, first_seq: int, seq: int, entries: Sequence[Entry]) -> set[int]:
        """The groups that pass with the rows of one more snapshot, which is not taken in, and that these add to.

        Args:
            first_seq: where the window begins.
            seq: the snapshot.
            entries: its rows.
        """


class Sums:
    """How much the rows of each group add up to."""

    leaves = True

    def __init__(self, passes: Container[int]) -> None:
        self._passes = passes
        # Sorted by group.
        self._groups, self._totals = _EMPTY, _EMPTY

    @property
    def size(self) -> int:
        return len(self._groups)

    def add(self, seq: int, entries: Sequence[Entry]) -> None:  # noqa: ARG002
        self._shift(entries, 1)

    def remove(self, entries: Sequence[Entry]) -> None:
        self._shift(entries, -1)
        # A group that is not there adds up to nothing.
        there = self._totals != 0
        if len(there) - np.count_nonzero(there) > _DEAD + len(there) // 4:
            self._groups, self._totals = self._groups[there], self._totals[there]

    def passing(self, first_seq: int, seq: int, entries: Sequence[Entry]) -> set[int]:  # noqa: ARG002
        groups, amounts = _added_up(entries)
        known, at = _found(self._groups, groups)
        amounts[known] += self._totals[at[known]]
        return {
            group for group, amount in zip(groups.tolist(), amounts.tolist(), strict=True) if amount in self._passes
        }

    def _shift(self, entries: Sequence[Entry], sign: int) -> None:
        groups, amounts = _added_up(entries)
        known, at = _found(self._groups, groups)
        self._totals[at[known]] += sign * amounts[known]
        if not known.all():
            new = ~known
            self._groups = np.insert(self._groups, at[new], groups[new])
            self._totals = np.insert(self._totals, at[new], sign * amounts[new])


class Values:
    """Which values each group has, and in which snapshot it had each last."""

    leaves = False

    def __init__(self, passes: Container[int]) -> None:
        self._passes = passes
        # Sorted by pair: what stands for the group and the value together.
        self._pairs, self._groups, self._last = _EMPTY, _EMPTY, _EMPTY

    @property
    def size(self) -> int:
        return len(self._pairs)

    def add(self, seq: int, entries: Sequence[Entry]) -> None:
        pairs, groups = _pairs(entries)
        known, at = _found(self._pairs, pairs)
        self._last[at[known]] = np.maximum(self._last[at[known]], seq)
        if not known.all():
            new = ~known
            self._pairs = np.insert(self._pairs, at[new], pairs[new])
            self._groups = np.insert(self._groups, at[new], groups[new])
            self._last = np.insert(self._last, at[new], seq)

    def remove(self, entries: Sequence[Entry]) -> None:
        """They are forgotten by their numbers."""

    def passing(self, first_seq: int, seq: int, entries: Sequence[Entry]) -> set[int]:  # noqa: ARG002
        pairs, groups = _pairs(entries)
        present = np.unique(np.array([group for group, _ in entries], dtype=np.int64))
        within = self._last >= first_seq
        self._forget(within)
        known, at = _found(self._pairs, pairs)
        known[known] = self._last[at[known]] >= first_seq
        numbers = np.zeros(len(present), dtype=np.int64)
        np.add.at(numbers, np.searchsorted(present, groups[~known]), 1)
        here, place = _found(present, self._groups)
        np.add.at(numbers, place[here & (self._last >= first_seq)], 1)
        return {
            group for group, number in zip(present.tolist(), numbers.tolist(), strict=True) if number in self._passes
        }

    def _forget(self, within: npt.NDArray[np.bool_]) -> None:
        if len(within) - np.count_nonzero(within) > _DEAD + len(within) // 4:
            self._pairs, self._groups, self._last = self._pairs[within], self._groups[within], self._last[within]


class Stages:
    """Which of some rules matched each group, and when last."""

    leaves = False

    def __init__(self, number: int, holds: Callable[[Sequence[bool]], bool]) -> None:
        """Args:
        number: how many rules there are.
        holds: whether it is enough that these rules matched: a flag for each.
        """
        self._number, self._holds = number, holds
        self._last: dict[int, list[int]] = {}
        self._purge_at = _DEAD

    @property
    def size(self) -> int:
        return len(self._last) * (self._number + 8)

    def add(self, seq: int, entries: Sequence[Entry]) -> None:
        for group, matched in _bits_of(entries).items():
            self._last[group] = self._after(seq, matched, self._last.get(group))

    def remove(self, entries: Sequence[Entry]) -> None:
        """They are forgotten by their numbers."""

    def passing(self, first_seq: int, seq: int, entries: Sequence[Entry]) -> set[int]:
        if len(self._last) > self._purge_at:
            self._last = {group: last for group, last in self._last.items() if max(last) >= first_seq}
            self._purge_at = _DEAD + 2 * len(self._last)
        return {
            group
            for group, matched in _bits_of(entries).items()
            if self._enough(first_seq, self._after(seq, matched, self._last.get(group)))
        }

    def _after(self, seq: int, matched: int, before: Sequence[int] | None) -> list[int]:
        last = list(before or [-1] * self._number)
        for rule in range(self._number):
            if matched >> rule & 1:
                last[rule] = seq
        return last

    def _enough(self, first_seq: int, last: Sequence[int]) -> bool:
        return self._holds([each >= first_seq for each in last])


class OrderedStages(Stages):
    """When the last chain of rules began that reached each of them, in their order."""

    def __init__(self, number: int) -> None:
        super().__init__(number, all)

    def _after(self, seq: int, matched: int, before: Sequence[int] | None) -> list[int]:
        began = list(before or [-1] * self._number)
        for rule in range(self._number):
            if matched >> rule & 1:
                # Within a snapshot nobody knows what came first: any order will do.
                began[rule] = seq if rule == 0 else max(began[rule], began[rule - 1])
        return began

    def _enough(self, first_seq: int, last: Sequence[int]) -> bool:
        return last[-1] >= first_seq


def _added_up(entries: Sequence[Entry]) -> tuple[Integers, Integers]:
    """Each group once, sorted, with what its rows amount to."""
    groups, numbers = _columns(entries)
    found, places = np.unique(groups, return_inverse=True)
    amounts = np.zeros(len(found), dtype=np.int64)
    # numpy.bincount would add floating-point numbers.
    np.add.at(amounts, places, numbers)
    return found, amounts


def _pairs(entries: Sequence[Entry]) -> tuple[Integers, Integers]:
    """What stands for a group and a value together, each once, sorted; and the group of each."""
    groups, values = _columns(entries)
    pairs, first = np.unique(values, return_index=True)
    there = pairs != NO_VALUE
    return pairs[there], groups[first[there]]


def _columns(entries: Sequence[Entry]) -> tuple[Integers, Integers]:
    if not entries:
        return _EMPTY, _EMPTY
    groups, numbers = np.array(entries, dtype=np.int64).T
    return groups, numbers


def _bits_of(entries: Sequence[Entry]) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for group, matched in entries:
        found[group] |= matched
    return found


def _found(known: Integers, wanted: Integers) -> tuple[npt.NDArray[np.bool_], Integers]:
    """Which of `wanted` are among `known`, which is sorted, and where each is or would be."""
    at = np.searchsorted(known, wanted)
    there = at < len(known)
    there[there] = known[at[there]] == wanted[there]
    return there, at
