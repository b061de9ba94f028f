"""Writes snapshots, whole or not at all, and reads them back for detection."""

from __future__ import annotations

from dataclasses import fields, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from detector.domain import ConnectionCount, ConnectionKey, Direction, Losses, Protocol, SnapshotRef, StoredCount
from detector.errors import StoreError
from detector.store.columns import packed
from detector.store.tables import connection_counts, connection_keys, detection_cursors, hosts, snapshots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import RowMapping

    from detector.domain import Snapshot

# SQLite accepts 32,766 bound parameters a statement (since 3.32), Postgres 65,535.
_LOOKUP_BATCH = 1000
_KEY_FIELDS = tuple(field.name for field in fields(ConnectionKey))
_COUNT_FIELDS = tuple(field.name for field in fields(ConnectionCount) if field.name != "key")
_TEXT_FIELDS = ("executable", "command", "user", "login_user", "unit", "container")


def storable(text: str) -> str:
    r"""`text` as both databases can hold it: NUL and what is no Unicode are written out (`\x00`, `\udcff`)."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def digest(key: ConnectionKey) -> bytes:
    """16 bytes that identify a key: BLAKE2b over its fields, each with its length, None apart from empty."""
    state = blake2b(digest_size=16)
    for name in _KEY_FIELDS:
        value = getattr(key, name)
        if value is None:
            state.update(b"\xff")
        else:
            raw = packed(value) if name == "remote_address" else str(value).encode()
            state.update(len(raw).to_bytes(4, "big") + raw)
    return state.digest()


class SnapshotWriter:
    """Writes one host's snapshots. One writer a host: it numbers the snapshots and the keys.

    A key's number is remembered, so that a snapshot of known keys costs one statement for all of them.
    """

    # Known keys kept in memory; beyond this all are forgotten and looked up again.
    _REMEMBERED = 100_000

    def __init__(self, host: str) -> None:
        self._host = host
        self._key_ids: dict[ConnectionKey, int] = {}
        # The last snapshot that is known to be ours.
        self._last_seq: int | None = None
        # What was written last, or was to be.
        self._tried: Snapshot | None = None

    def write(self, connection: Connection, snapshot: Snapshot) -> SnapshotRef:
        """Adds `snapshot` within the transaction of `connection`; the caller commits it, whole or not at all.

        Should the transaction be rolled back, call `forget` before the next write.

        Raises:
            StoreError: another collector has written for the same host since the last time.
            sqlalchemy.exc.IntegrityError: another collector writes for the same host at the same moment.
        """
        host_id = host_number(connection, self._host, snapshot.end)
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
        losses = {f"lost_{f.name}": getattr(snapshot.losses, f.name) for f in fields(Losses)}
        connection.execute(
            insert(snapshots),
            {"host_id": host_id, "seq": seq, "start": snapshot.start, "end": snapshot.end, **losses},
        )
        merged = _merged(snapshot.counts)
        key_ids = self._number_keys(connection, host_id, [key for key, _ in merged], snapshot)
        if merged:
            connection.execute(
                insert(connection_counts),
                [
                    {
                        "host_id": host_id,
                        "seq": seq,
                        "key_id": key_ids[key],
                        **{name: getattr(count, name) for name in _COUNT_FIELDS},
                    }
                    for (key, _), count in merged.items()
                ],
            )
        ref = SnapshotRef(host_id=host_id, host=self._host, seq=seq, start=snapshot.start, end=snapshot.end)
        self._last_seq = seq
        return ref

    def forget(self) -> None:
        """Drops what is remembered of keys: their numbers may have been rolled back."""
        self._key_ids.clear()

    def _number_keys(
        self, connection: Connection, host_id: int, keys: Collection[ConnectionKey], snapshot: Snapshot
    ) -> dict[ConnectionKey, int]:
        if len(self._key_ids) > self._REMEMBERED:
            self.forget()
        unknown = {digest(key): key for key in keys if key not in self._key_ids}
        new = dict(unknown)
        for batch in _batches(list(unknown)):
            rows = connection.execute(
                select(connection_keys.c.digest, connection_keys.c.key_id).where(
                    connection_keys.c.host_id == host_id, connection_keys.c.digest.in_(batch)
                )
            )
            for raw, key_id in rows:
                self._key_ids[new.pop(bytes(raw))] = key_id
        made = set(new.values())
        old = [self._key_ids[key] for key in keys if key not in made]
        if new:
            highest = select(func.max(connection_keys.c.key_id)).where(connection_keys.c.host_id == host_id)
            first = 1 + (connection.scalar(highest) or 0)
            self._key_ids.update({key: first + offset for offset, key in enumerate(new.values())})
            connection.execute(
                insert(connection_keys),
                [
                    {
                        "host_id": host_id,
                        "key_id": self._key_ids[key],
                        "digest": raw,
                        "first_seen": snapshot.start,
                        "last_seen": snapshot.end,
                        **{name: getattr(key, name) for name in _KEY_FIELDS},
                    }
                    for raw, key in new.items()
                ],
            )
        if old:
            connection.execute(
                update(connection_keys)
                .where(connection_keys.c.host_id == host_id, connection_keys.c.key_id == bindparam("b_key_id"))
                .values(last_seen=snapshot.end),
                [{"b_key_id": key_id} for key_id in old],
            )
        return self._key_ids


def host_number(connection: Connection, host: str, now: datetime) -> int:
    """The number of `host`, which is given one at its first appearance."""
    known = connection.scalar(select(hosts.c.host_id).where(hosts.c.host == host))
    if known is None:
        known = connection.scalar(insert(hosts).values(host=host, created_at=now).returning(hosts.c.host_id))
    return int(known or 0)


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
    return list(
        connection.scalars(select(detection_cursors.c.host_id).where(waiting).order_by(detection_cursors.c.host_id))
    )


def hosts_without_cursor(connection: Connection) -> list[int]:
    """The hosts that detection has never looked at."""
    return list(
        connection.scalars(select(hosts.c.host_id).where(hosts.c.host_id.not_in(select(detection_cursors.c.host_id))))
    )


def create_cursors(connection: Connection) -> None:
    """Gives every host that has none a cursor at its beginning, so that there is a row to lock."""
    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    for host_id in hosts_without_cursor(connection):
        # Two workers may come to a new host at the same moment.
        connection.execute(kind.insert(detection_cursors).values(host_id=host_id, seq=0).on_conflict_do_nothing())


def advance_cursor(connection: Connection, snapshot: SnapshotRef) -> None:
    """Says that detection has seen `snapshot`; commits with what it found there."""
    connection.execute(
        update(detection_cursors).where(detection_cursors.c.host_id == snapshot.host_id).values(seq=snapshot.seq)
    )


def read_counts(connection: Connection, snapshot: SnapshotRef) -> list[StoredCount]:
    """All counts of a stored snapshot, by key number."""
    rows = connection.execute(
        select(connection_counts, *(connection_keys.c[name] for name in _KEY_FIELDS), connection_keys.c.first_seen)
        .join(
            connection_keys,
            (connection_keys.c.host_id == connection_counts.c.host_id)
            & (connection_keys.c.key_id == connection_counts.c.key_id),
        )
        .where(connection_counts.c.host_id == snapshot.host_id, connection_counts.c.seq == snapshot.seq)
        .order_by(connection_counts.c.key_id, connection_counts.c.session)
    ).mappings()
    return [StoredCount(key_id=row["key_id"], first_seen=row["first_seen"], count=count_from(row)) for row in rows]


def key_from(row: RowMapping | Mapping[str, Any]) -> ConnectionKey:
    """A key from the columns of its table."""
    values = {name: row[name] for name in _KEY_FIELDS}
    values["direction"] = Direction(values["direction"])
    values["protocol"] = Protocol(values["protocol"])
    return ConnectionKey(**values)


def count_from(row: RowMapping | Mapping[str, Any]) -> ConnectionCount:
    """A count from the columns of counts joined with keys."""
    return ConnectionCount(key=key_from(row), **{name: row[name] for name in _COUNT_FIELDS})


def _merged(counts: Sequence[ConnectionCount]) -> dict[tuple[ConnectionKey, int], ConnectionCount]:
    """One count for each (key, session): names may make one of two keys that the kernel tells apart."""
    merged: dict[tuple[ConnectionKey, int], ConnectionCount] = {}
    for count in counts:
        key = _storable(count.key)
        other = merged.get((key, count.session))
        merged[key, count.session] = count if other is None else _sum(count, other)
    return merged


def _storable(key: ConnectionKey) -> ConnectionKey:
    texts = {name: text for name in _TEXT_FIELDS if (text := getattr(key, name)) is not None}
    changed: dict[str, Any] = {name: storable(text) for name, text in texts.items() if storable(text) != text}
    return replace(key, **changed) if changed else key


def _sum(one: ConnectionCount, other: ConnectionCount) -> ConnectionCount:
    added = {name: getattr(one, name) + getattr(other, name) for name in _COUNT_FIELDS}
    added["session"] = one.session
    added["handshake_us_max"] = max(one.handshake_us_max, other.handshake_us_max)
    return ConnectionCount(key=one.key, **added)


def _batches(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(values), _LOOKUP_BATCH):
        yield values[start : start + _LOOKUP_BATCH]
