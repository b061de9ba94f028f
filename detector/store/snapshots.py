"""Writes snapshots, whole or not at all, and reads their counts back."""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Integer, LargeBinary, and_, bindparam, exists, func, insert, select, update

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
from detector.store.chain import BEGIN, chain_hash, content_hash
from detector.store.columns import UtcDateTime
from detector.store.numbering import Numbering
from detector.store.packed import Names, PackedSnapshot
from detector.store.packing import pack_columns
from detector.store.rows import NAME_FIELDS, ORIGIN_FIELDS
from detector.store.tables import (
    connection_keys,
    destination_names,
    hosts,
    login_origins,
    packed_counts,
    replacements,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from detector.domain import Snapshot

_KEY_FIELDS = tuple(field.name for field in fields(ConnectionKey))
_COUNT_FIELDS = tuple(field.name for field in fields(ConnectionCount) if field.name != "key")
# The columns of counts themselves, less where they stand.
_NUMBERS = tuple(name for name in _COUNT_FIELDS if name not in {"session", *ORIGIN_FIELDS, *NAME_FIELDS})
_SUMMED = tuple(name for name in _NUMBERS if name != "handshake_us_max")
# Which columns of counts are numbers of something else.
_PLACES = ("key_id", "origin_id", "name_id")
_key, _origin, _name = (attrgetter(*names) for names in (_KEY_FIELDS, ORIGIN_FIELDS, NAME_FIELDS))
# Of Postgres' advisory locks, so that they are no other program's.
_LOCKS = 0x6465_7463
# A snapshot begins where the one before it ended; the clock is read twice.
_NO_GAP_SECONDS = 1.0


_same, _any = snapshots.alias("same"), snapshots.alias("of_host")
# A parameter wherever the host is named: who distributes hosts over several servers asks the one that has it.
_HOST_ID = bindparam("host_id", type_=Integer)
_NEWEST = select(func.max(_any.c.seq)).where(_any.c.host_id == _HOST_ID).scalar_subquery()
_KNOWN = (
    select(
        hosts.c.host_id,
        hosts.c.expiries,
        snapshots.c.seq,
        snapshots.c.start,
        snapshots.c.end,
        snapshots.c.chain_hash,
        _same.c.seq.label("marked_seq"),
    )
    .select_from(
        hosts.outerjoin(snapshots, and_(snapshots.c.host_id == _HOST_ID, snapshots.c.seq == _NEWEST)).outerjoin(
            _same,
            # The end is part of the key: Postgres finds the part by it.
            and_(
                _same.c.host_id == _HOST_ID,
                _same.c.mark == bindparam("mark", type_=LargeBinary),
                _same.c.end == bindparam("end", type_=UtcDateTime),
            ),
        )
    )
    .where(hosts.c.host_id == _HOST_ID, hosts.c.host == bindparam("host"))
)


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
        # As it was last time.
        self._host_id: int | None = None
        # The last snapshot that is known to be ours.
        self._last_seq: int | None = None
        # The newest before that was written, and whether that was rolled back, for all we know.
        self._base: int | None = None
        self._unsure = False
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
        known = self._look(connection, snapshot, mark)
        host_id, before = known.host_id, known.seq
        if known.expiries != self._expiries:
            self._forget_numbers()
            self._expiries = known.expiries
        if self._unsure and before == self._base:
            # It was: its number is given again, or it would be missed.
            self._last_seq = before
        self._unsure = False
        seq = 1 + (before or 0)
        if before is not None and self._last_seq is not None:
            # Where some of ours were deleted their numbers are not given again: they are missed.
            seq = max(seq, 1 + self._last_seq)
        ref = SnapshotRef(host_id=host_id, host=self._host, seq=seq, start=snapshot.start, end=snapshot.end)
        if known.marked_seq is not None:
            if self._last_seq is not None:
                self._last_seq = max(known.marked_seq, self._last_seq)
            return replace(ref, seq=known.marked_seq)
        tried_before, self._tried = self._tried is snapshot, snapshot
        if tried_before and (known.start, known.end) == (snapshot.start, snapshot.end):
            # It was committed, and the answer was lost on the way.
            self._last_seq = before
            return replace(ref, seq=before)
        if before is not None and self._last_seq is not None and before > self._last_seq:
            raise StoreError(
                f"another collector stores snapshots of {self._host}; every connect would be stored twice",
                hint="stop one of them, or give each its own name: host in the configuration",
            )
        place = {"host_id": host_id, "seq": ref.seq}
        gap = (snapshot.start - known.end).total_seconds() if before is not None else 0.0
        if gap < -_NO_GAP_SECONDS and self._last_seq is None and mark is not None:
            snapshot = _begun_before(snapshot, gap)
        stored = {"mark": mark, "waited_seconds": waited_seconds}
        if before is None:
            stored["set_aside"] = connection.scalar(
                select(replacements.c.set_aside).order_by(replacements.c.replaced_at.desc()).limit(1)
            )
        packed, named = self._packed(connection, host_id, snapshot)
        row = place | _described(snapshot, gap) | stored
        sealed = content_hash(packed["content"] if packed else b"", named)
        row["chain_hash"] = chain_hash(known.chain_hash or BEGIN, self._host, row, sealed)
        connection.execute(insert(snapshots), row)
        if packed:
            connection.execute(insert(packed_counts), place | packed)
        self._base, self._last_seq = before, ref.seq
        return ref

    def _look(self, connection: Connection, snapshot: Snapshot, mark: bytes | None) -> Any:
        """The host, its newest snapshot, and this one if it is there by its mark. Nobody else adds any until the end of
        the transaction.
        """
        asked = {"host": self._host, "mark": mark, "end": snapshot.end}
        known = None
        if self._host_id is not None:
            lock_numbers(connection, self._host_id)
            known = connection.execute(_KNOWN, asked | {"host_id": self._host_id}).first()
        if known is None:
            # At first, and in a database that took the place of the one before.
            self._host_id = host_number(connection, self._host, snapshot.end)
            lock_numbers(connection, self._host_id)
            known = connection.execute(_KNOWN, asked | {"host_id": self._host_id}).one()
        return known

    def forget(self) -> None:
        """Drops what is remembered of keys, origins, names and the last snapshot, which may have been rolled back."""
        self._unsure = True
        self._forget_numbers()

    def _forget_numbers(self) -> None:
        for numbering in (self._keys, self._origins, self._names):
            numbering.forget()

    def _packed(
        self, connection: Connection, host_id: int, snapshot: Snapshot
    ) -> tuple[dict[str, Any], list[Mapping[int, bytes]]]:
        """The columns of `packed_counts`, none where there are no counts; and what the numbers in them stand for."""
        counts = snapshot.counts
        if not counts:
            return {}, []
        keys = self._keys.number(
            connection,
            host_id,
            [_key(count.key) for count in counts],
            first_seen=snapshot.start,
            last_seen=snapshot.end,
        )
        origins = self._origins.number(connection, host_id, list(map(_origin, counts)))
        names = self._names.number(connection, host_id, list(map(_name, counts)))
        columns: Mapping[str, Sequence[int]] = {
            "key_id": [key_id or 0 for key_id in keys.numbers],
            "origin_id": [origin_id or 0 for origin_id in origins.numbers],
            "name_id": [name_id or 0 for name_id in names.numbers],
            **{name: list(map(attrgetter(name), counts)) for name in ("session", *_NUMBERS)},
        }
        if len(set(zip(columns["key_id"], columns["session"], strict=True))) < len(counts):
            columns = _merged(columns)
        packed = {"end": snapshot.end, "rows": len(columns["key_id"]), "content": pack_columns(columns)}
        named = zip((keys, origins, names), _PLACES, strict=True)
        return packed, [_used(each.digests, columns[name]) for each, name in named]


def _merged(columns: Mapping[str, Sequence[int]]) -> Mapping[str, Sequence[int]]:
    """One row for each key and session: names may make one of two keys that the kernel tells apart."""
    rows: dict[tuple[int, int], dict[str, int]] = {}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        other = rows.get(place := (row["key_id"], row["session"]))
        rows[place] = row if other is None else _sum(other, row)
    return {name: [row[name] for row in rows.values()] for name in columns}


def _used(digests: Mapping[int, bytes], numbers: Sequence[int]) -> Mapping[int, bytes]:
    """Without those of what was added to others."""
    return {number: digests[number] for number in set(numbers) if number}


def is_stored(connection: Connection, host: str, mark: bytes) -> bool:
    """Whether the snapshot of this mark is in the database."""
    of_host = select(hosts.c.host_id).where(hosts.c.host == host).scalar_subquery()
    return bool(connection.scalar(select(exists().where(snapshots.c.host_id == of_host, snapshots.c.mark == mark))))


def _begun_before(snapshot: Snapshot, gap_seconds: float) -> Snapshot:
    """The first of a collector that seems to have begun before the one before it ended: the clock was set back while
    nobody watched, by so much at least. For how long that was is not known.
    """
    stepped = snapshot.health.clock_step_seconds or gap_seconds
    return replace(snapshot, health=replace(snapshot.health, clock_step_seconds=stepped))


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


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
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
