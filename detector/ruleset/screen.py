"""Spares the database most correlations: a host's window is remembered as numbers, a few for each of its rows.

What is remembered only says that nothing can pass the threshold. Whatever may is counted by the database, so that a
process that begins, or another one, finds the same: the numbers can be made again from the rows at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from detector.ruleset.events import AFTER, HOST_ID, SEQ, UNTIL
from detector.ruleset.sieve import plain
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    import numpy.typing as npt
    from sqlalchemy import Connection

    from detector.domain import SnapshotRef
    from detector.ruleset.sieve import Wanted

Window = list[tuple[int, datetime, datetime]]
"""The numbers, starts and ends of the snapshots of a host up to the one at hand, that one last."""

# Of all snapshots of a window, 16 bytes each. A host that has more, in the middle of a flood, is left to the database.
_MOST_ROWS = 500_000
# Of a bare seq SQLite would go through all of the host's snapshots; "+ 0" leaves it the index over their ends.
_IN_WINDOW = select(snapshots.c.seq, snapshots.c.start, snapshots.c.end).where(
    snapshots.c.host_id == HOST_ID, snapshots.c.seq + 0 <= SEQ, snapshots.c.end > AFTER, snapshots.c.end <= UNTIL
)


def read_window(connection: Connection, snapshot: SnapshotRef, timespan: timedelta) -> Window:
    """The window of the longest timespan that ends with `snapshot`."""
    place = {"host_id": snapshot.host_id, "seq": snapshot.seq}
    rows = connection.execute(_IN_WINDOW, place | {"after": snapshot.end - timespan, "until": snapshot.end})
    return sorted((seq, start, end) for seq, start, end in rows)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one snapshot adds to a window."""

    end: datetime
    groups: npt.NDArray[np.int64]
    """Of each row that counts. Stands for the group as Python's hash, whose key nobody outside knows."""
    numbers: npt.NDArray[np.int64]
    """How much the row counts; where values are counted, what stands for the group and the value."""


class Screen:
    """Remembers, by host, what the rows of a window add to a correlation that asks for a threshold or more."""

    def __init__(self, wanted: Wanted, *, distinct: bool, threshold: int) -> None:
        """Args:
        wanted: the rows that count. Its columns are what a row is worth, or the value that is counted, and the group.
        distinct: whether values are counted.
        threshold: from how many on something may pass.
        """
        rows = wanted.category.rows
        columns = [rows.table.c.seq, *map(plain, wanted.columns)]
        self._statement = rows.select(columns, rows.in_span, wanted.matching.rows)
        self._distinct = distinct
        self._threshold = threshold
        self._parts: dict[int, dict[int, _Part]] = {}

    def may_pass(
        self, connection: Connection, snapshot: SnapshotRef, rows: Iterable[tuple[Any, ...]], window: Window
    ) -> bool:
        """Whether there can be a group that passes over `window` and that the `rows` of `snapshot` add to."""
        known = self._parts.get(snapshot.host_id, {})
        parts = {seq: part for seq, _, end in window if (part := known.get(seq)) is not None and part.end == end}
        if missing := {seq: end for seq, _, end in window if seq not in parts and seq != snapshot.seq}:
            span = {"host_id": snapshot.host_id, "first_seq": min(missing), "seq": max(missing)}
            parts |= self._read(connection.execute(self._statement, span), missing)
        # What this snapshot adds is made anew: whoever came here before may have been rolled back.
        parts |= self._read(((snapshot.seq, *row) for row in rows), {snapshot.seq: snapshot.end})
        self._parts[snapshot.host_id] = parts
        if sum(len(part.groups) for part in parts.values()) > _MOST_ROWS:
            del self._parts[snapshot.host_id]
            return True
        groups, numbers = (
            np.concatenate([getattr(part, name) for part in parts.values()]) for name in ("groups", "numbers")
        )
        if self._distinct:
            _, first = np.unique(numbers, return_index=True)
            groups, numbers = groups[first], np.ones(len(first), dtype=np.int64)
        found, places = np.unique(groups, return_inverse=True)
        passing = found[np.bincount(places, weights=numbers) >= self._threshold]
        return bool(np.isin(passing, parts[snapshot.seq].groups).any())

    def _read(self, rows: Iterable[Sequence[Any]], missing: dict[int, datetime]) -> dict[int, _Part]:
        found: dict[int, tuple[list[int], list[int]]] = {seq: ([], []) for seq in missing}
        for seq, number, *group in rows:
            # A value that is missing is not counted.
            if seq in found and number is not None:
                groups, numbers = found[seq]
                groups.append(hash(tuple(group)))
                numbers.append(hash((*group, number)) if self._distinct else int(number))
        return {
            seq: _Part(missing[seq], np.array(groups, dtype=np.int64), np.array(numbers, dtype=np.int64))
            for seq, (groups, numbers) in found.items()
        }
