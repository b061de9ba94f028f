"""Writes snapshots, whole or not at all, and reads them back for detection."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, exists, func, insert, select, update

from detector.domain import (
    CaptureHealth,
    ConnectionCount,
    ConnectionKey,
    Direction,
    Losses,
    Protocol,
    SnapshotRef,
    StoredCount,
)
from detector.errors import StoreError
from detector.store.numbering import Numbering
from detector.store.packed import Names, PackedSnapshot
from detector.store.packing import pack_counts
from detector.store.rows import NAME_FIELDS, ORIGIN_FIELDS
from detector.store.tables import (
    connection_keys,
    destination_names,
    detection_cursors,
    hosts,
    login_origins,
    packed_counts,
    replacements,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from detector.domain import Snapshot

_KEY_FIELDS = tuple(field.name for field in fields(ConnectionKey))
_COUNT_FIELDS = tuple(field.name for field in fields(ConnectionCount) if field.name != "key")
# The columns of counts themselves, less where they stand.
_NUMBERS = tuple(name for name in _COUNT_FIELDS if name not in {"session", *ORIGIN_FIELDS, *NAME_FIELDS})
_SUMMED = tuple(name for name in _NUMBERS if name != "handshake_us_max")
_key, _origin, _name, _numbers = (attrgetter(*names) for names in (_KEY_FIELDS, ORIGIN_FIELDS, NAME_FIELDS, _NUMBERS))
# Of Postgres' advisory locks, so that they are no other program's.
_LOCKS = 0x6465_7463
# A snapshot begins where the one before it ended; the clock is read twice.
_NO_GAP_SECONDS = 1.0


class SnapshotWriter:
    """Writes one host's snapshots. One writer a host: it numbers the snapshots, and what they have in common.

    These numbers are remembered, so that a snapshot of known keys costs one statement for all of them. It inserts, and
    changes nothing that is there.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._keys = Numbering(connection_keys, _KEY_FIELDS)
        self._origins = Numbering(login_origins, ORIGIN_FIELDS)
        self._names = Numbering(destination_names, NAME_FIELDS)
        # The last snapshot that is known to be ours.
        self._last_seq: int | None = None
        # Numbers are remembered since then.
        self._expiries = 0
        # What was written last, or was to be.
        self._tried: Snapshot | None = None

    def write(
        self, connection: Connection, snapshot: Snapshot, *, mark: bytes | None = None, waited_seconds: float = 0.0
    ) -> SnapshotRef:
        """Adds `snapshot` within the transaction of `connection`; the caller commits it, whole or not at all.

        Should the transaction be rolled back, call `forget` before the next write.

        Args:
            connection: the transaction.
            snapshot: what to write. If it is stored already, it is not written again.
            mark: 16 bytes by which it is known again, whoever wrote it. Without, it is known as long as this writer
                has written nothing else.
            waited_seconds: how long it waited for the database.

        Raises:
            StoreError: another collector has written for the same host since the last time.
            sqlalchemy.exc.IntegrityError: another collector makes the same host known at the same moment.
        """
        host_id = host_number(connection, self._host, snapshot.end)
        lock_numbers(connection, host_id)
        expiries = connection.scalar(select(hosts.c.expiries).where(hosts.c.host_id == host_id)) or 0
        if expiries != self._expiries:
            self.forget()
            self._expiries = expiries
        if mark is not None and (known := _marked(connection, host_id, mark, snapshot.end)) is not None:
            if self._last_seq is not None:
                self._last_seq = max(known.seq, self._last_seq)
            return SnapshotRef(host_id=host_id, host=self._host, **known._mapping)
        newest = connection.execute(
            select(snapshots.c.seq, snapshots.c.start, snapshots.c.end)
            .where(snapshots.c.host_id == host_id)
            .order_by(snapshots.c.seq.desc())
            .limit(1)
        ).first()
        tried_before, self._tried = self._tried is snapshot, snapshot
        if tried_before and newest is not None and (newest.start, newest.end) == (snapshot.start, snapshot.end):
            # It was committed, and the answer was lost on the way.
            self._last_seq = newest.seq
            return SnapshotRef(host_id=host_id, host=self._host, **newest._mapping)
        if newest is not None and self._last_seq is not None and newest.seq > self._last_seq:
            raise StoreError(
                f"another collector stores snapshots of {self._host}; every connect would be stored twice",
                hint="stop one of them, or give each its own name: host in the configuration",
            )
        seq = 1 + (newest.seq if newest is not None else 0)
        place = {"host_id": host_id, "seq": seq}
        gap = (snapshot.start - newest.end).total_seconds() if newest is not None else 0.0
        stored = {"mark": mark, "waited_seconds": waited_seconds}
        if newest is None:
            stored["set_aside"] = connection.scalar(
                select(replacements.c.set_aside).order_by(replacements.c.replaced_at.desc()).limit(1)
            )
        connection.execute(insert(snapshots), place | _described(snapshot, gap) | stored)
        if rows := self._rows(connection, host_id, snapshot):
            packed = {"end": snapshot.end, "rows": len(rows), "content": pack_counts(rows)}
            connection.execute(insert(packed_counts), place | packed)
        ref = SnapshotRef(host_id=host_id, host=self._host, seq=seq, start=snapshot.start, end=snapshot.end)
        self._last_seq = seq
        return ref

    def forget(self) -> None:
        """Drops what is remembered of keys, origins and names: their numbers may have been rolled back."""
        for numbering in (self._keys, self._origins, self._names):
            numbering.forget()

    def _rows(self, connection: Connection, host_id: int, snapshot: Snapshot) -> Sequence[dict[str, Any]]:
        """One row for each key and session: names may make one of two keys that the kernel tells apart."""
        counts = snapshot.counts
        key_ids = self._keys.number(
            connection,
            host_id,
            [_key(count.key) for count in counts],
            first_seen=snapshot.start,
            last_seen=snapshot.end,
        )
        origin_ids = self._origins.number(connection, host_id, [_origin(count) for count in counts])
        name_ids = self._names.number(connection, host_id, [_name(count) for count in counts])
        rows: dict[tuple[int | None, int], dict[str, Any]] = {}
        for count, key_id, origin_id, name_id in zip(counts, key_ids, origin_ids, name_ids, strict=True):
            row = dict(zip(_NUMBERS, _numbers(count), strict=True))
            row |= {"key_id": key_id, "session": count.session, "origin_id": origin_id, "name_id": name_id}
            other = rows.get((key_id, count.session))
            rows[key_id, count.session] = row if other is None else _sum(other, row)
        return list(rows.values())


def is_stored(connection: Connection, host: str, mark: bytes) -> bool:
    """Whether the snapshot of this mark is in the database."""
    of_host = select(hosts.c.host_id).where(hosts.c.host == host).scalar_subquery()
    return bool(connection.scalar(select(exists().where(snapshots.c.host_id == of_host, snapshots.c.mark == mark))))


def _marked(connection: Connection, host_id: int, mark: bytes, end: datetime) -> Row[Any, Any, Any] | None:
    return connection.execute(
        select(snapshots.c.seq, snapshots.c.start, snapshots.c.end).where(
            snapshots.c.host_id == host_id, snapshots.c.mark == mark, snapshots.c.end == end
        )
    ).first()


def _described(snapshot: Snapshot, gap_seconds: float) -> dict[str, Any]:
    """The columns of a snapshot: when it was, what was lost in it, and how well it was taken."""
    health = {field.name: getattr(snapshot.health, field.name) for field in fields(CaptureHealth)}
    return {
        "start": snapshot.start,
        "end": snapshot.end,
        **{f"lost_{field.name}": getattr(snapshot.losses, field.name) for field in fields(Losses)},
        **health,
        "unseen": "; ".join(snapshot.health.unseen),
        "gap_seconds": gap_seconds if gap_seconds > _NO_GAP_SECONDS else 0.0,
    }


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two rows of one key as one; what only one of them knows is kept."""
    return {
        **one,
        **{name: one[name] + other[name] for name in _SUMMED},
        "handshake_us_max": max(one["handshake_us_max"], other["handshake_us_max"]),
        "origin_id": one["origin_id"] or other["origin_id"],
        "name_id": one["name_id"] or other["name_id"],
    }


def host_number(connection: Connection, host: str, now: datetime) -> int:
    """The number of `host`, which is given one at its first appearance."""
    known = connection.scalar(select(hosts.c.host_id).where(hosts.c.host == host))
    if known is None:
        known = connection.scalar(insert(hosts).values(host=host, created_at=now).returning(hosts.c.host_id))
    return int(known or 0)


def lock_numbers(connection: Connection, host_id: int) -> None:
    """Until the end of the transaction nobody else numbers what a host's snapshots have in common, or deletes of it."""
    # On SQLite who writes is alone anyway.
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, host_id)))


def next_snapshot(connection: Connection, host_id: int) -> SnapshotRef | None:
    """The oldest snapshot of a host that detection has not seen; takes the host's cursor for this transaction.

    None when detection has caught up, or when another worker holds the host.
    """
    held = connection.scalar(
        select(detection_cursors.c.seq).where(detection_cursors.c.host_id == host_id).with_for_update(skip_locked=True)
    )
    if held is None:
        return None
    row = connection.execute(
        select(hosts.c.host, snapshots.c.seq, snapshots.c.start, snapshots.c.end)
        .join(hosts, hosts.c.host_id == snapshots.c.host_id)
        .where(snapshots.c.host_id == host_id, snapshots.c.seq > held)
        .order_by(snapshots.c.seq)
        .limit(1)
    ).first()
    return None if row is None else SnapshotRef(host_id=host_id, **row._mapping)


def hosts_behind(connection: Connection) -> list[int]:
    """The hosts with snapshots that detection has not seen; each must have a cursor."""
    waiting = exists().where(
        snapshots.c.host_id == detection_cursors.c.host_id, snapshots.c.seq > detection_cursors.c.seq
    )
    # In no order: workers that begin at the same one would wait for each other, and the last might never have its turn.
    return list(connection.scalars(select(detection_cursors.c.host_id).where(waiting).order_by(func.random())))


def hosts_without_cursor(connection: Connection) -> list[int]:
    """The hosts that detection has never looked at."""
    return list(
        connection.scalars(select(hosts.c.host_id).where(hosts.c.host_id.not_in(select(detection_cursors.c.host_id))))
    )


def create_cursors(connection: Connection) -> None:
    """Gives every host that has none a cursor at its beginning, so that there is a row to lock."""
    # Here, since a collector has no need of them: 4 MB.
    from sqlalchemy.dialects import postgresql, sqlite

    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    for host_id in hosts_without_cursor(connection):
        # Two workers may come to a new host at the same moment.
        connection.execute(kind.insert(detection_cursors).values(host_id=host_id, seq=0).on_conflict_do_nothing())


def advance_cursor(connection: Connection, snapshot: SnapshotRef) -> None:
    """Says that detection has seen `snapshot`; commits with what it found there."""
    connection.execute(
        update(detection_cursors).where(detection_cursors.c.host_id == snapshot.host_id).values(seq=snapshot.seq)
    )


def stored_counts(connection: Connection, host_id: int, packed: PackedSnapshot) -> list[StoredCount]:
    """The counts of a packed snapshot of the host, by key and session."""
    rows = Names(connection, host_id).rows(packed.numbers(row) for row in range(packed.rows))
    return [StoredCount(key_id=row["key_id"], first_seen=row["first_seen"], count=count_from(row)) for row in rows]


def count_as_lost(connection: Connection, snapshot: SnapshotRef) -> int:
    """Says of a snapshot whose counts are damaged that they were lost; returns how many."""
    of_snapshot = (packed_counts.c.host_id == snapshot.host_id, packed_counts.c.seq == snapshot.seq)
    rows = connection.scalar(select(packed_counts.c.rows).where(*of_snapshot)) or 0
    connection.execute(
        update(snapshots)
        .where(snapshots.c.host_id == snapshot.host_id, snapshots.c.seq == snapshot.seq)
        .values(lost_unread=snapshots.c.lost_unread + rows)
    )
    return int(rows)


def key_from(row: Mapping[str, Any]) -> ConnectionKey:
    """A key from the columns of its table."""
    values = {name: row[name] for name in _KEY_FIELDS}
    values["direction"] = Direction(values["direction"])
    values["protocol"] = Protocol(values["protocol"])
    return ConnectionKey(**values)


def count_from(row: Mapping[str, Any]) -> ConnectionCount:
    """A count from the columns that `packed.Names` gives a row."""
    return ConnectionCount(key=key_from(row), **{name: row[name] for name in _COUNT_FIELDS})
