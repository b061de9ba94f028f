"""The rows of a host's past snapshots that rules look at: unpacked once, deleted when no rule looks at them any more.

Of the last snapshots all rows are there. Of those before them, as far back as correlations over a longer time look, are
those that such a correlation matches: so a day costs what its rules match, and not all that the host did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, and_, delete, exists, func, not_, select, update

from detector.store import bulk
from detector.store.packed import read_packed
from detector.store.packing_observations import NO_OBSERVATION
from detector.store.refilling import refill
from detector.store.tables import connection_counts, detection_cursors, kept_windows, observations, snapshots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from detector.domain import SnapshotRef
    from detector.store.extent import Span
    from detector.store.packed import PackedSnapshot
    from detector.store.refilling import Seeking

_TABLES = (connection_counts, observations)
_DIGEST_BYTES = 16
_AT_ONCE = 100
"""Snapshots whose rows are looked at together."""

Wanted = frozenset[bytes]
"""What rows have to be, one of them: digests that whoever needs them knows the meaning of."""


class Needed(Protocol):
    """Which rows rules look at."""

    @property
    def whole(self) -> timedelta:
        """How far before a snapshot's end all rows are looked at."""

    @property
    def longer(self) -> Mapping[timedelta, Wanted]:
        """By how far back beyond that, in whole seconds: which rows."""

    def places(self, connection: Connection, host_id: int, span: Span, wanted: Wanted) -> Iterable[tuple[int, ...]]:
        """Snapshot, key and session of the rows of a span that are wanted, of those that are there."""

    def seeking(self, wanted: Wanted) -> Seeking:
        """What tells, of rows that are packed, that they are not wanted."""


@dataclass(frozen=True, slots=True)
class _There:
    """Which rows of a host are there, or are to be."""

    whole: int
    """From this snapshot on all of them."""
    longer: Mapping[int, tuple[int, Wanted]]
    """By how many seconds back: from which snapshot on, and which."""

    def of(self, seq: int) -> Wanted | None:
        """Which rows of a snapshot; None: all."""
        if seq >= self.whole:
            return None
        return frozenset[bytes]().union(*(wanted for first, wanted in self.longer.values() if first <= seq))

    @property
    def begins(self) -> set[int]:
        """Where something else begins to be there."""
        return {self.whole, *(first for first, _ in self.longer.values())}


def advance(connection: Connection, snapshot: SnapshotRef, packed: PackedSnapshot | None, needed: Needed) -> None:
    """Brings the rows of a snapshot, which is the next one of its host, beside those before it that are needed.

    What was older when the snapshot before it was looked at goes: what leaves a window with this one is asked for once
    more. What is needed and not there, since rules were changed, the clock was set back, or Postgres crashed, is made
    of what is packed, unless it has expired. The lists that rules name have to be in the database.
    """
    host_id = snapshot.host_id
    there = _read(connection, snapshot)
    wanted = _wanted(connection, snapshot, needed)
    for span, before, after in _differences(there, wanted, snapshot.seq):
        if after is None:
            _delete(connection, host_id, span)
            for older in read_packed(connection, host_id, span):
                _unpack(connection, host_id, older)
        elif before is None or after <= before:
            _thin(connection, host_id, span, needed, after)
        else:
            _delete(connection, host_id, span)
            for filled in refill(connection, host_id, span, needed.seeking(after)):
                _thin(connection, host_id, filled, needed, after)
    _write(connection, host_id, there, wanted)
    if packed is not None:
        _unpack(connection, host_id, packed)


def _read(connection: Connection, snapshot: SnapshotRef) -> _There:
    """What is there of the host."""
    cursor = detection_cursors.c
    any_row = exists().where(connection_counts.c.host_id == snapshot.host_id)
    row = connection.execute(select(cursor.recent_seq, any_row).where(cursor.host_id == snapshot.host_id)).first()
    kept = connection.execute(
        select(kept_windows.c.back_seconds, kept_windows.c.first_seq, kept_windows.c.wanted).where(
            kept_windows.c.host_id == snapshot.host_id
        )
    )
    longer = {back: (first, _digests(bytes(wanted))) for back, first, wanted in kept}
    # Of a host without connections there is nothing to be found either, nor anything to make again.
    whole = row[0] if row is not None and (row[1] or longer) else snapshot.seq
    return _There(min(whole, snapshot.seq), longer)


def _wanted(connection: Connection, snapshot: SnapshotRef, needed: Needed) -> _There:
    """What is to be there, less the snapshot itself."""
    before = connection.scalar(
        select(snapshots.c.end).where(snapshots.c.host_id == snapshot.host_id, snapshots.c.seq == snapshot.seq - 1)
    )
    end = snapshot.end if before is None else min(before, snapshot.end)
    return _There(
        _first(connection, snapshot, end - needed.whole),
        {
            back // timedelta(seconds=1): (_first(connection, snapshot, end - back), wanted)
            for back, wanted in needed.longer.items()
        },
    )


def _first(connection: Connection, snapshot: SnapshotRef, after: datetime) -> int:
    """The first snapshot of the host that ended after a moment; at the latest the one at hand."""
    first = connection.scalar(
        # Of a bare min(seq) SQLite would go through all of the host's snapshots; "+ 0" leaves it the index over ends.
        select(func.min(snapshots.c.seq + 0)).where(
            snapshots.c.host_id == snapshot.host_id, snapshots.c.end > after, snapshots.c.seq < snapshot.seq
        )
    )
    return snapshot.seq if first is None else first


def _differences(there: _There, wanted: _There, seq: int) -> Iterator[tuple[Span, Wanted | None, Wanted | None]]:
    """The spans before a snapshot of which other rows are wanted than are there: what is, and what is wanted."""
    begins = sorted({each for each in there.begins | wanted.begins if each < seq} | {seq})
    for first, after_last in pairwise(begins):
        before, after = there.of(first), wanted.of(first)
        if before != after:
            yield (first, after_last - 1), before, after


def _thin(connection: Connection, host_id: int, span: Span, needed: Needed, wanted: Wanted) -> None:
    """Leaves of the rows of a span those that are wanted."""
    if not wanted:
        _delete(connection, host_id, span)
        return
    for first in range(span[0], span[1] + 1, _AT_ONCE):
        some = (first, min(first + _AT_ONCE - 1, span[1]))
        _delete(connection, host_id, some, but=set(needed.places(connection, host_id, some, wanted)))


def _delete(connection: Connection, host_id: int, span: Span, but: Collection[tuple[int, ...]] = ()) -> None:
    for table in _TABLES:
        place = (table.c.seq, table.c.key_id, table.c.session)
        others = [not_(bulk.rows_among(connection, place, but))] if but else []
        of_span = and_(table.c.host_id == host_id, table.c.seq.between(*span))
        connection.execute(delete(table).where(of_span, *others))


def _write(connection: Connection, host_id: int, before: _There, after: _There) -> None:
    """Notes what is there now."""
    cursor = detection_cursors.c
    connection.execute(
        update(detection_cursors)
        .where(cursor.host_id == host_id, cursor.recent_seq != after.whole)
        .values(recent_seq=after.whole)
    )
    if gone := before.longer.keys() - after.longer.keys():
        here = kept_windows.c
        connection.execute(delete(kept_windows).where(here.host_id == host_id, here.back_seconds.in_(sorted(gone))))
    bulk.upsert(
        connection,
        kept_windows,
        ("host_id", "back_seconds", "first_seq", "wanted"),
        [
            (host_id, back, first, b"".join(sorted(wanted)))
            for back, (first, wanted) in after.longer.items()
            if before.longer.get(back) != (first, wanted)
        ],
    )


def _digests(content: bytes) -> Wanted:
    return frozenset(content[at : at + _DIGEST_BYTES] for at in range(0, len(content), _DIGEST_BYTES))


def _unpack(connection: Connection, host_id: int, packed: PackedSnapshot) -> None:
    counts = packed.counts
    origins, names = ([number or None for number in counts[name]] for name in ("origin_id", "name_id"))
    columns = {**counts, "origin_id": origins, "name_id": names}
    rows = ((host_id, packed.seq, *numbers) for numbers in zip(*columns.values(), strict=True))
    bulk.add(connection, connection_counts, ("host_id", "seq", *columns), rows)
    if packed.observations is not None:
        places = zip(counts["key_id"], counts["session"], strict=True)
        bulk.add(
            connection,
            observations,
            ("host_id", "seq", "key_id", "session", *NO_OBSERVATION),
            ((host_id, packed.seq, *place, *packed.observed(row).values()) for row, place in enumerate(places)),
        )
