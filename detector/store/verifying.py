"""Looks whether a host's stored snapshots are those that were written: see `chain`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from detector.domain import ConnectionKey
from detector.store import bulk
from detector.store.chain import BEGIN, SEALED, Break, BreakKind, chain_hash, content_hash
from detector.store.numbering import digest
from detector.store.packing import PackingError, unpack_counts
from detector.store.rows import NAME_FIELDS, ORIGIN_FIELDS
from detector.store.tables import (
    connection_keys,
    destination_names,
    detection_cursors,
    hosts,
    login_origins,
    packed_counts,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, Table

    from detector.domain import SnapshotRef

AT_ONCE = 200
"""So many snapshots are read at a time."""
# What is remembered of keys, so that those of all snapshots need not be read again for each page of them.
_REMEMBERED = 100_000
_LOOKUP_BATCH = 1000
_MOST_GAPS = 100
# What the numbers in packed counts stand for, and of what columns the digest is made.
_NAMED: tuple[tuple[str, Table, Sequence[str]], ...] = (
    ("key_id", connection_keys, [each.name for each in fields(ConnectionKey)]),
    ("origin_id", login_origins, ORIGIN_FIELDS),
    ("name_id", destination_names, NAME_FIELDS),
)


@dataclass(slots=True)
class _Place:
    """How far a chain was looked at."""

    seq: int
    hash: bytes | None
    """What the next one is chained to; None: nobody knows, since the one before is gone."""
    end: datetime | None = None


def _after(row: Any) -> _Place:
    # The chain begins after what was written before there was one.
    return _Place(row.seq, BEGIN if row.chain_hash is None else bytes(row.chain_hash), row.end)


@dataclass(slots=True)
class Verified:
    """What was found of a host's chain, or of the part of it that was asked for."""

    host: str
    snapshots: int = 0
    unchained: int = 0
    """Of these so many were written by a version that made no chain."""
    breaks: list[Break] = field(default_factory=list)
    last_seq: int = 0
    """The last one that was looked at."""
    head: bytes | None = None
    """Its hash, which stands for all before it; None: it has none."""
    over: bool = True
    """There is nothing after what was looked at."""
    hashes: dict[int, bytes] = field(default_factory=dict)
    """Of the snapshots that were asked for."""


class Verifier:
    """Goes through a host's chain, as many snapshots at a time as whoever iterates wants."""

    def __init__(self, connection: Connection, host_id: int, *, thorough: bool = True) -> None:
        """`thorough`: what keys say is compared with their digests too, which takes twice as long."""
        self._connection, self._host_id, self._thorough = connection, host_id, thorough
        row = connection.execute(select(hosts.c.host, hosts.c.expired_seq).where(hosts.c.host_id == host_id)).one()
        self._host, self._expired_seq = row.host, row.expired_seq
        self._digests: dict[str, dict[int, bytes]] = {name: {} for name, *_ in _NAMED}

    def steps(self, *, after: int = 0, noted: Sequence[int] = ()) -> Iterator[Verified]:
        """Page by page, each with what was found up to there; the last one's `over` is true.

        Args:
            after: begins with the snapshot after this one.
            noted: the hashes of these are wanted.
        """
        found = Verified(self._host, over=False)
        place = self.place(after)
        while rows := self._page(place.seq):
            self._look_up(rows)
            for row in rows:
                self._check(row, place, found)
                if row.seq in noted and row.chain_hash is not None:
                    found.hashes[row.seq] = bytes(row.chain_hash)
                place = _after(row)
            found.last_seq, found.head = place.seq, None if place.hash == BEGIN else place.hash
            yield found
        self._miss(found, place, self._seen() + 1, None)
        found.over = True
        yield found

    def place(self, after: int) -> _Place:
        """Where the snapshot stands that was the last up to `after`, or where the chain begins."""
        before = self._connection.execute(
            select(snapshots.c.seq, snapshots.c.chain_hash, snapshots.c.end)
            .where(snapshots.c.host_id == self._host_id, snapshots.c.seq <= after)
            .order_by(snapshots.c.seq.desc())
            .limit(1)
        ).first()
        return _Place(0, BEGIN) if before is None else _after(before)

    def check_one(self, snapshot: SnapshotRef, seen: _Place) -> list[Break]:
        """Whether `snapshot` follows upon what was `seen`."""
        of_it = (snapshots.c.host_id == self._host_id, snapshots.c.seq == snapshot.seq, snapshots.c.end == snapshot.end)
        row = self._connection.execute(_sealed().where(*of_it)).one()
        self._look_up([row])
        found = Verified(self._host)
        self._check(row, seen, found)
        return found.breaks

    def _page(self, after: int) -> Sequence[Row[Any]]:
        rows = _sealed().where(snapshots.c.host_id == self._host_id, snapshots.c.seq > after)
        return self._connection.execute(rows.order_by(snapshots.c.seq).limit(AT_ONCE)).all()

    def _check(self, row: Row[Any], place: _Place, found: Verified) -> None:
        found.snapshots += 1
        before = place.hash
        if row.seq > place.seq + 1:
            self._miss(found, place, row.seq, row.start)
            before = None
        if row.chain_hash is None:
            found.unchained += 1
            # Once there is a chain, it goes on.
            changed = place.hash not in {None, BEGIN}
        elif before is None:
            # What stood there before is not known: of an older database, nothing did.
            changed = False
        else:
            changed = self._hash(before, row) != bytes(row.chain_hash)
        if changed:
            found.breaks.append(self._break(BreakKind.CHANGED, row.seq, row.seq, place.end, row.end))

    def _miss(self, found: Verified, place: _Place, next_seq: int, until: datetime | None) -> None:
        """Notes those that are missing between `place` and the next one, and have not expired."""
        first, last = max(place.seq, self._expired_seq) + 1, next_seq - 1
        if first <= last:
            found.breaks.append(self._break(BreakKind.MISSING, first, last, place.end, until))

    def _seen(self) -> int:
        """Up to where detection was."""
        cursor = detection_cursors.c
        return self._connection.scalar(select(cursor.seq).where(cursor.host_id == self._host_id)) or 0

    def _break(self, kind: BreakKind, first: int, last: int, after: Any, until: Any) -> Break:
        return Break(
            host_id=self._host_id,
            host=self._host,
            kind=kind,
            first_seq=first,
            last_seq=last,
            after=after,
            until=until,
        )

    def _hash(self, before: bytes, row: Row[Any]) -> bytes:
        named = [
            {number: self._digests[name].get(number, b"") for number in numbers}
            for (name, *_), numbers in zip(_NAMED, _numbers(row.content), strict=True)
        ]
        content = content_hash(row.content, named) if row.content else content_hash(b"", [])
        return chain_hash(before, self._host, row._asdict(), content)

    def _look_up(self, rows: Sequence[Row[Any]]) -> None:
        wanted: list[set[int]] = [set() for _ in _NAMED]
        for row in rows:
            for numbers, more in zip(wanted, _numbers(row.content), strict=True):
                numbers.update(more)
        for (name, table, of), numbers in zip(_NAMED, wanted, strict=True):
            known = self._digests[name]
            if len(known) > _REMEMBERED:
                known.clear()
            unknown = sorted(numbers - known.keys())
            columns = [table.c[column] for column in of] if self._thorough else []
            for start in range(0, len(unknown), _LOOKUP_BATCH):
                batch = unknown[start : start + _LOOKUP_BATCH]
                asked = select(table.c[name], table.c.digest, *columns).where(
                    table.c.host_id == self._host_id, bulk.among(self._connection, table.c[name], batch)
                )
                for number, written, *values in self._connection.execute(asked):
                    known[number] = digest(values) if self._thorough else bytes(written)


def missing(connection: Connection, host_id: int, *, newest_only: bool = False) -> list[Break]:
    """Where snapshots of a host are not there that have not expired.

    Args:
        connection: the transaction.
        host_id: whose.
        newest_only: looks only whether detection has seen some that came after all that are there.
    """
    known, cursor = snapshots.c, detection_cursors.c
    row = connection.execute(
        select(hosts.c.host, hosts.c.expired_seq, cursor.seq)
        .select_from(hosts.outerjoin(detection_cursors, cursor.host_id == hosts.c.host_id))
        .where(hosts.c.host_id == host_id)
    ).one()
    newest = connection.scalar(select(func.max(known.seq)).where(known.host_id == host_id)) or 0
    found: list[tuple[int, int, datetime | None, datetime | None]] = []
    if (row.seq or 0) > max(newest, row.expired_seq):
        found.append((max(newest, row.expired_seq) + 1, row.seq, None, None))
    later = and_(known.host_id == host_id, known.seq > row.expired_seq)
    if not newest_only and newest > row.expired_seq:
        there = connection.scalar(select(func.count()).select_from(snapshots).where(later)) or 0
        if there < newest - row.expired_seq:
            before = func.lag(known.seq, 1, row.expired_seq).over(order_by=known.seq)
            ended = func.lag(known.end).over(order_by=known.seq)
            each = (
                select(known.seq, known.start, before.label("before"), ended.label("ended")).where(later).subquery().c
            )
            gaps = select(each.before, each.seq, each.ended, each.start).where(each.seq > each.before + 1)
            found += [
                (before + 1, seq - 1, ended, start)
                for before, seq, ended, start in connection.execute(gaps.order_by(each.seq).limit(_MOST_GAPS))
            ]
    return [
        Break(
            host_id=host_id,
            host=row.host,
            kind=BreakKind.MISSING,
            first_seq=first,
            last_seq=last,
            after=after,
            until=until,
        )
        for first, last, after, until in found
    ]


def check_next(connection: Connection, snapshot: SnapshotRef) -> list[Break]:
    """Whether a snapshot that detection takes is the one after those it has seen, as it was written.

    The digests of its keys are taken as they are; `Verifier` looks at what they are of, too.
    """
    cursor = detection_cursors.c
    seen = connection.execute(select(cursor.seq, cursor.chain_hash).where(cursor.host_id == snapshot.host_id)).one()
    verifier = Verifier(connection, snapshot.host_id, thorough=False)
    place = verifier.place(seen.seq)
    if seen.chain_hash is not None:
        # As it was then, whatever stands there now.
        place = _Place(seen.seq, bytes(seen.chain_hash), place.end)
    return verifier.check_one(snapshot, place)


def _sealed() -> Any:
    packed = packed_counts.c
    same = and_(packed.host_id == snapshots.c.host_id, packed.seq == snapshots.c.seq, packed.end == snapshots.c.end)
    columns = (*(snapshots.c[name] for name in SEALED), snapshots.c.chain_hash, packed.content)
    return select(*columns).select_from(snapshots.outerjoin(packed_counts, same))


def _numbers(content: bytes | None) -> list[set[int]]:
    """The keys, origins and names in packed counts; none in what cannot be read."""
    try:
        counts: Mapping[str, Sequence[int]] = unpack_counts(content) if content else {}
    except PackingError:
        counts = {}
    return [set(counts.get(name, ())) - {0} for name, *_ in _NAMED]
