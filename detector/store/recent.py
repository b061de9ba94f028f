"""The rows of a host's last snapshots, for the rules: unpacked once, deleted when none looks so far back any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, exists, func, select, update

from detector.store import bulk
from detector.store.packed import read_packed
from detector.store.packing import NO_OBSERVATION
from detector.store.tables import connection_counts, detection_cursors, observations, snapshots

if TYPE_CHECKING:
    from datetime import timedelta

    from detector.domain import SnapshotRef
    from detector.store.packed import PackedSnapshot

_TABLES = (connection_counts, observations)


def advance(connection: Connection, snapshot: SnapshotRef, packed: PackedSnapshot | None, back: timedelta) -> None:
    """Brings the rows of a snapshot, which is the next one of its host, beside those before it, as far as `back` goes.

    What was older when the snapshot before it was looked at goes: what leaves a window with this one is asked for once
    more. What is not there, since rules look farther back than before, the clock was set back, or
    Postgres crashed, comes, unless it has expired.
    """
    host_id = snapshot.host_id
    cursor = detection_cursors.c
    there = exists().where(connection_counts.c.host_id == host_id)
    where = connection.execute(select(cursor.recent_seq, there).where(cursor.host_id == host_id)).first()
    # Of a host without connections there is nothing to be found either, nor anything to make again.
    recent = where[0] if where is not None and where[1] else snapshot.seq
    before = connection.scalar(
        select(snapshots.c.end).where(snapshots.c.host_id == host_id, snapshots.c.seq == snapshot.seq - 1)
    )
    end = snapshot.end if before is None else min(before, snapshot.end)
    first = connection.scalar(
        # Of a bare min(seq) SQLite would go through all of the host's snapshots; "+ 0" leaves it the index over ends.
        select(func.min(snapshots.c.seq + 0)).where(
            snapshots.c.host_id == host_id, snapshots.c.end > end - back, snapshots.c.seq < snapshot.seq
        )
    )
    first = snapshot.seq if first is None else first
    if first < recent:
        for older in read_packed(connection, host_id, (first, min(recent, snapshot.seq) - 1)):
            _unpack(connection, host_id, older)
    elif first > recent:
        for table in _TABLES:
            connection.execute(delete(table).where(table.c.host_id == host_id, table.c.seq < first))
    if first != recent:
        connection.execute(update(detection_cursors).where(cursor.host_id == host_id).values(recent_seq=first))
    if packed is not None:
        _unpack(connection, host_id, packed)


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
