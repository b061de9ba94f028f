"""The rows that a rule matches in many snapshots, as arrays: they may be millions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import EvidenceRef, SnapshotRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Snapshots of a host: the number of each, in order, and when they began and ended, in microseconds since 1970."""

    seqs: Numbers
    starts: Numbers
    ends: Numbers

    def ref(self, place: int, host_id: int, host: str) -> SnapshotRef:
        """One of them."""
        start, end = (_EPOCH + timedelta(microseconds=int(each[place])) for each in (self.starts, self.ends))
        return SnapshotRef(host_id=host_id, seq=int(self.seqs[place]), host=host, start=start, end=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Rows that match, in the order of their snapshots."""

    taken: Taken
    which: Numbers
    """Of each row the snapshot, by its place in `taken`."""
    groups: Numbers
    """Of each row its group, by a number that whoever made this knows."""
    keys: Numbers
    sessions: Numbers
    amounts: Numbers
    """What each row counts for a baseline; without one 0."""

    def only(self, rows: Numbers | npt.NDArray[np.bool_]) -> Matched:
        """Some of the rows."""
        return replace(
            self,
            which=self.which[rows],
            groups=self.groups[rows],
            keys=self.keys[rows],
            sessions=self.sessions[rows],
            amounts=self.amounts[rows],
        )

    def within(self, after: datetime | None, until: datetime | None) -> Matched:
        """The rows of snapshots that ended in a period."""
        ends, wanted = self.taken.ends, np.ones(len(self.taken.ends), dtype=np.bool_)
        if after is not None:
            wanted &= ends > _microseconds(after)
        if until is not None:
            wanted &= ends <= _microseconds(until)
        return self if wanted.all() else self.only(wanted[self.which])

    def evidence(self) -> Iterator[tuple[int, dict[int, tuple[EvidenceRef, ...]]]]:
        """Of each snapshot that has rows, by its place: the rows of each group."""
        columns = (self.which, self.groups, self.taken.seqs[self.which], self.keys, self.sessions)
        for place, rows in groupby(zip(*(each.tolist() for each in columns), strict=True), key=itemgetter(0)):
            of_groups: dict[int, list[EvidenceRef]] = {}
            for _, group, seq, key_id, session in rows:
                of_groups.setdefault(group, []).append(EvidenceRef(seq=seq, key_id=key_id, session=session))
            yield place, {group: tuple(found) for group, found in of_groups.items()}


def added_up(matched: Matched, amounts: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Each snapshot and group that rows have, ordered by snapshot, and what the rows of both add up to.

    Args:
        matched: the rows.
        amounts: of each what it counts.
    """
    if not len(matched.which):
        return matched.which, matched.groups, amounts
    many = int(matched.groups.max()) + 1
    codes = matched.which * many + matched.groups
    if (cells := (int(matched.which[-1]) + 1) * many) <= _DENSE * len(codes):
        sums = np.zeros(cells, dtype=np.int64)
        there = np.zeros(cells, dtype=np.bool_)
        there[codes] = True
        np.add.at(sums, codes, amounts)
        found = np.flatnonzero(there)
        return found // many, found % many, sums[found]
    found, places = np.unique(codes, return_inverse=True)
    sums = np.zeros(len(found), dtype=np.int64)
    np.add.at(sums, places, amounts)
    return found // many, found % many, sums


# With so many times as many cells as rows, it is quicker to go through all cells than to sort the rows.
_DENSE = 20


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
