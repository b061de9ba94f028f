"""Reads what is packed: whole snapshots, with the rows that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, select

from detector.store import bulk, damage
from detector.store.packing import COUNT_COLUMNS, PackingError, unpack_counts
from detector.store.packing_observations import NO_OBSERVATION, PackedObservations, unpack_observations
from detector.store.rows import KEY_COLUMNS, NAME_FIELDS, ORIGIN_FIELDS
from detector.store.tables import (
    connection_keys,
    destination_names,
    login_origins,
    packed_counts,
    packed_observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Column, ColumnElement, Connection, Row, Table

    from detector.domain import SnapshotRef

# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_LOOKUP_BATCH = 1000
SNAPSHOTS_AT_ONCE = 100
"""Packed, some 250 kB: what is in memory at a time."""

_NAMELESS_ORIGIN = dict.fromkeys(ORIGIN_FIELDS)
_NAMELESS = dict.fromkeys(NAME_FIELDS)


@dataclass(frozen=True, slots=True)
class PackedSnapshot:
    """The rows of a stored snapshot, as columns."""

    seq: int
    start: datetime
    end: datetime
    counts: Mapping[str, Sequence[int]]
    """By name of packing.COUNT_COLUMNS, a value each a row; sorted by key and session."""
    observations: PackedObservations | None
    """None: detection has not been there, or the host was being learnt."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.counts["key_id"])

    def numbers(self, row: int) -> dict[str, Any]:
        """One row: the columns of `tables.connection_counts`, less `host_id` and `seq`."""
        values: dict[str, Any] = {name: self.counts[name][row] for name in COUNT_COLUMNS}
        values["origin_id"] = values["origin_id"] or None
        values["name_id"] = values["name_id"] or None
        return values

    def observed(self, row: int) -> Mapping[str, Any]:
        """What detection says of one row: the columns of `tables.observations`, less where they stand."""
        return NO_OBSERVATION if self.observations is None else self.observations.row(row)


def read_packed(
    connection: Connection, host_id: int, span: tuple[int, int], *, scores: bool = True
) -> Iterator[PackedSnapshot]:
    """The snapshots of a host that have rows, from the first to the last of `span`, in order.

    Args:
        connection: the transaction.
        host_id: whose.
        span: the first and the last number.
        scores: whether what detection says is wanted too.

    Those that are damaged are passed over; see `damage`.
    """
    for row in _rows(connection, host_id, span, scores=scores):
        try:
            counts = unpack_counts(row.content)
        except PackingError:
            damage.note(connection, host_id, row.seq)
            continue
        observed = observations_of(connection, host_id, row.seq, row.said) if scores and row.said is not None else None
        yield PackedSnapshot(row.seq, row.start, row.end, counts, observed)


def observations_of(connection: Connection, host_id: int, seq: int, content: bytes) -> PackedObservations | None:
    """What detection says of a snapshot's rows; None where that is damaged, see `damage`."""
    try:
        return unpack_observations(content)
    except PackingError:
        damage.note(connection, host_id, seq)
        return None


def _rows(
    connection: Connection, host_id: int, span: tuple[int, int], *, scores: bool
) -> Iterator[Row[Any, Any, Any, Any, Any]]:
    first, last = span
    here, said = packed_counts.c, packed_observations.c
    columns: list[ColumnElement[Any]] = [snapshots.c.seq, snapshots.c.start, snapshots.c.end, here.content]
    # The end is part of all keys: Postgres finds the part by it.
    same = and_(here.host_id == snapshots.c.host_id, here.seq == snapshots.c.seq, here.end == snapshots.c.end)
    source = snapshots.join(packed_counts, same)
    if scores:
        columns.append(said.content.label("said"))
        beside = and_(said.host_id == here.host_id, said.seq == here.seq, said.end == here.end)
        source = source.outerjoin(packed_observations, beside)
    statement = select(*columns).select_from(source).where(snapshots.c.host_id == host_id).order_by(snapshots.c.seq)
    while first <= last:
        page = connection.execute(statement.where(snapshots.c.seq.between(first, last)).limit(SNAPSHOTS_AT_ONCE)).all()
        yield from page
        if len(page) < SNAPSHOTS_AT_ONCE:
            return
        first = page[-1].seq + 1


def read_one(connection: Connection, snapshot: SnapshotRef) -> PackedSnapshot | None:
    """The counts of one snapshot, without what detection says of them; None when it has none."""
    span = (snapshot.seq, snapshot.seq)
    for row in _rows(connection, snapshot.host_id, span, scores=False):
        return PackedSnapshot(row.seq, row.start, row.end, unpack_counts(row.content), None)
    return None


@dataclass
class Names:
    """What the numbers of a host's rows stand for; looked up once each."""

    connection: Connection
    host_id: int
    _keys: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _origins: dict[int | None, Mapping[str, Any]] = field(default_factory=lambda: {None: _NAMELESS_ORIGIN})
    _names: dict[int | None, Mapping[str, Any]] = field(default_factory=lambda: {None: _NAMELESS})

    def rows(self, numbers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Each row with the columns of its key, of where its login came from and of what its destination is called.

        Left out is a row whose key is not there any more.
        """
        numbered = list(numbers)
        self._look_up(connection_keys, "key_id", KEY_COLUMNS, self._keys, numbered)
        self._look_up(login_origins, "origin_id", _columns(login_origins, ORIGIN_FIELDS), self._origins, numbered)
        self._look_up(destination_names, "name_id", _columns(destination_names, NAME_FIELDS), self._names, numbered)
        return [
            {
                **{name: value for name, value in row.items() if name not in {"origin_id", "name_id"}},
                **self._keys[row["key_id"]],
                **self._origins.get(row["origin_id"], _NAMELESS_ORIGIN),
                **self._names.get(row["name_id"], _NAMELESS),
            }
            for row in numbered
            if row["key_id"] in self._keys
        ]

    def _look_up(
        self,
        table: Table,
        number: str,
        columns: Sequence[Column[Any]],
        known: dict[Any, Mapping[str, Any]],
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        unknown = iter(sorted({row[number] for row in rows if row[number] is not None} - known.keys()))
        while batch := list(islice(unknown, _LOOKUP_BATCH)):
            found = self.connection.execute(
                select(table.c[number], *columns).where(
                    table.c.host_id == self.host_id, bulk.among(self.connection, table.c[number], batch)
                )
            )
            for key, *values in found:
                known[key] = {column.name: value for column, value in zip(columns, values, strict=True)}


def _columns(table: Table, names: Sequence[str]) -> list[Column[Any]]:
    return [table.c[name] for name in names]
