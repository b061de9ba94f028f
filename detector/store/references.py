"""Deletes keys, origins and names that nothing refers to any more.

What the roll-ups refer to is asked of them. What packed snapshots refer to cannot be: those that are not rolled up are
read, and what they name is marked. A key that was rolled up says itself when it was seen last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, func, or_, select, update

from detector.store.engine import reading, writing
from detector.store.packed import read_packed
from detector.store.snapshots import lock_numbers
from detector.store.tables import (
    alerts,
    connection_keys,
    daily_counts,
    destination_names,
    detection_cursors,
    evidence,
    hosts,
    hourly_counts,
    login_origins,
    model_samples,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, Table

_NUMBERED: tuple[tuple[Table, str], ...] = (
    (connection_keys, "key_id"),
    (login_origins, "origin_id"),
    (destination_names, "name_id"),
)
_SNAPSHOTS_AT_ONCE = 5
_ROWS_AT_ONCE = 5000
_LOOKUP_BATCH = 1000
_BITS = 8


@dataclass(slots=True)
class Marks:
    """Numbers that are in use: a bit each, since a scan has millions."""

    _bits: bytearray = field(default_factory=bytearray)

    def add(self, numbers: Iterable[int]) -> None:
        """Marks them."""
        bits = self._bits
        for number in numbers:
            place = number // _BITS
            if place >= len(bits):
                bits.extend(bytes(place + 1024 - len(bits)))
            bits[place] |= 1 << number % _BITS

    def __contains__(self, number: int) -> bool:
        place = number // _BITS
        return place < len(self._bits) and bool(self._bits[place] >> number % _BITS & 1)


class Unreferenced:
    """Finds and deletes what nothing of a host refers to, in steps: see `steps`."""

    def __init__(self, engine: Engine, host_id: int) -> None:
        self._engine, self._host_id = engine, host_id
        self._marks = {name: Marks() for _, name in _NUMBERED}
        # Up to here packed snapshots are marked.
        self._marked = 0
        # When the first snapshot ended that is left: keys seen at or after it are in use.
        self._since: datetime | None = None
        self.deleted = 0

    def steps(self, *, names_too: bool) -> Iterator[int]:
        """Does all of it, a short step at a time; each gives how many were deleted by it.

        Args:
            names_too: whether origins and names are wanted too, for which all that was rolled up has to be read.

        Raises:
            StoreError: the database is away.
        """
        yield from self._mark_packed(all_of_them=names_too)
        self._mark_sample()
        yield from self._mark_evidence()
        tables = _NUMBERED if names_too else _NUMBERED[:1]
        if names_too:
            yield from self._mark_rolled_up()
        for table, name in tables:
            after: int | None = 0
            while after is not None:
                deleted, after = self._delete(table, name, after)
                self.deleted += deleted
                yield deleted

    def _mark_packed(self, *, all_of_them: bool) -> Iterator[int]:
        cursor = detection_cursors.c
        with reading(self._engine) as connection:
            rolled = connection.scalar(select(cursor.rolled_seq).where(cursor.host_id == self._host_id)) or 0
            # In the order of time, whichever way the clock was set.
            self._since = connection.scalar(
                select(func.min(snapshots.c.end)).where(snapshots.c.host_id == self._host_id)
            )
            newest = self._newest(connection)
            first = connection.scalar(
                select(snapshots.c.seq).where(snapshots.c.host_id == self._host_id).order_by(snapshots.c.seq).limit(1)
            )
        if newest is None:
            return
        self._marked = (first or 1) - 1 if all_of_them else max(rolled, (first or 1) - 1)
        while self._marked < newest:
            until = min(self._marked + _SNAPSHOTS_AT_ONCE, newest)
            with reading(self._engine) as connection:
                self._mark(connection, until)
            yield 0

    def _newest(self, connection: Connection) -> int | None:
        found: int | None = connection.scalar(
            select(snapshots.c.seq)
            .where(snapshots.c.host_id == self._host_id)
            .order_by(snapshots.c.seq.desc())
            .limit(1)
        )
        return found

    def _mark(self, connection: Connection, until: int) -> None:
        """What snapshots refer to, up to one of them."""
        # What nobody can read refers to nothing.
        for packed in read_packed(connection, self._host_id, (self._marked + 1, until), scores=False):
            for _, name in _NUMBERED:
                self._marks[name].add(packed.counts[name])
        self._marked = until

    def _mark_sample(self) -> None:
        """What models show as examples of what is normal; what is added meanwhile was seen just now."""
        with reading(self._engine) as connection:
            of_host = select(model_samples.c.key_id).where(model_samples.c.host_id == self._host_id)
            self._marks["key_id"].add(connection.scalars(of_host))

    def _mark_evidence(self) -> Iterator[int]:
        """What is behind alerts, however old."""
        with reading(self._engine) as connection:
            numbers = list(connection.scalars(select(alerts.c.alert_id).where(alerts.c.host_id == self._host_id)))
        for alert_id in numbers:
            place = (-1, 0, 0)
            while True:
                with reading(self._engine) as connection:
                    rows = connection.execute(
                        select(evidence.c.seq, evidence.c.key_id, evidence.c.session)
                        .where(evidence.c.alert_id == alert_id, _after(place))
                        .order_by(evidence.c.seq, evidence.c.key_id, evidence.c.session)
                        .limit(_ROWS_AT_ONCE)
                    ).all()
                self._marks["key_id"].add(row.key_id for row in rows if row.key_id > 0)
                yield 0
                if len(rows) < _ROWS_AT_ONCE:
                    break
                place = (rows[-1].seq, rows[-1].key_id, rows[-1].session)

    def _mark_rolled_up(self) -> Iterator[int]:
        """The origins and names in both roll-ups, key by key."""
        after: int | None = 0
        while after is not None:
            with reading(self._engine) as connection:
                keys = list(
                    connection.scalars(
                        select(connection_keys.c.key_id)
                        .where(connection_keys.c.host_id == self._host_id, connection_keys.c.key_id > after)
                        .order_by(connection_keys.c.key_id)
                        .limit(_LOOKUP_BATCH // 10)
                    )
                )
                for table in (hourly_counts, daily_counts):
                    rows = connection.execute(
                        select(table.c.origin_id, table.c.name_id)
                        .where(table.c.host_id == self._host_id, table.c.key_id.in_(keys))
                        .distinct()
                    ).all()
                    self._marks["origin_id"].add(row.origin_id for row in rows)
                    self._marks["name_id"].add(row.name_id for row in rows)
            yield 0
            after = keys[-1] if keys else None

    def _delete(self, table: Table, name: str, after: int) -> tuple[int, int | None]:
        """Of the next numbers those that are in use nowhere; returns how many, and the last that was looked at."""
        number = table.c[name]
        with writing(self._engine) as connection:
            lock_numbers(connection, self._host_id)
            # What came since: nothing more can until this is committed.
            self._mark(connection, self._newest(connection) or 0)
            some = list(
                connection.scalars(
                    select(number)
                    .where(table.c.host_id == self._host_id, number > after)
                    .order_by(number)
                    .limit(_LOOKUP_BATCH)
                )
            )
            if not some:
                return 0, None
            marks = self._marks[name]
            unused = [each for each in some if each not in marks]
            if unused and table is connection_keys:
                unused = self._unused_keys(connection, unused)
            if unused:
                connection.execute(delete(table).where(table.c.host_id == self._host_id, number.in_(unused)))
                connection.execute(
                    update(hosts).where(hosts.c.host_id == self._host_id).values(expiries=hosts.c.expiries + 1)
                )
        return len(unused), some[-1]

    def _unused_keys(self, connection: Connection, some: list[int]) -> list[int]:
        keys = connection_keys.c
        nowhere = [
            ~exists().where(table.c.host_id == self._host_id, table.c.key_id == keys.key_id)
            for table in (hourly_counts, daily_counts)
        ]
        seen = [] if self._since is None else [keys.last_seen < self._since]
        return list(
            connection.scalars(
                select(keys.key_id).where(keys.host_id == self._host_id, keys.key_id.in_(some), *seen, *nowhere)
            )
        )


def _after(place: tuple[int, int, int]) -> ColumnElement[bool]:
    seq, key_id, session = place
    columns = evidence.c
    return or_(
        columns.seq > seq,
        and_(
            columns.seq == seq, or_(columns.key_id > key_id, and_(columns.key_id == key_id, columns.session > session))
        ),
    )
