"""The kinds of events that rules look at, and how their rows are read: of one snapshot, or of a window of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Integer, Table, and_, bindparam, select, true
from sqlalchemy.sql import visitors

from detector.ruleset.fields import Kind
from detector.store.columns import UtcDateTime
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, FromClause, Select

    from detector.ruleset.fields import Field

HOST_ID = bindparam("host_id", type_=Integer)
SEQ = bindparam("seq", type_=BigInteger)
END = bindparam("end", type_=UtcDateTime)
FIRST_SEQ = bindparam("first_seq", type_=BigInteger)
AFTER = bindparam("after", type_=UtcDateTime)
UNTIL = bindparam("until", type_=UtcDateTime)

ANY = "attempted"
"""The word for an event whatever became of it. Every connect is attempted."""


def tables_of(*expressions: ColumnElement[Any]) -> set[FromClause]:
    """The tables whose columns stand in some expressions."""
    return {
        element.table
        for expression in expressions
        for element in visitors.iterate(expression)
        if isinstance(element, Column)
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Join:
    """A table that may be joined to an event's rows."""

    table: Table
    on: ColumnElement[bool]
    outer: bool = False
    """Whether rows that have none in this table stay."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Where the rows of one kind of event are.

    Args:
        table: holds one row for each, numbered by `host_id` and `seq`.
        joined: what every statement needs beside it.
        others: what is joined by statements that name it.
        place: `seq`, key and session of an `EvidenceRef` to a row.
        of_end: where the rows have the end of the snapshot, by which Postgres finds their part of the table.
        change: whether something may be said of them later: that a host fell silent, is said of its last snapshot.
        keys: holds what is the same of many rows, numbered by `host_id` and `key_id`.
    """

    table: Table
    joined: tuple[Join, ...] = ()
    others: tuple[Join, ...] = ()
    place: tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[Any]]
    of_end: ColumnElement[bool] = field(default_factory=true)
    change: bool = False
    keys: Table | None = None

    @property
    def order(self) -> list[ColumnElement[Any]]:
        """What the rows of a host are ordered by."""
        return [each for each in self.place if isinstance(each, Column)]

    @property
    def in_snapshot(self) -> ColumnElement[bool]:
        """The rows of the snapshot at hand."""
        return and_(self.table.c.host_id == HOST_ID, self.table.c.seq == SEQ, self.of_end)

    @property
    def in_span(self) -> ColumnElement[bool]:
        """The rows of the snapshots of some numbers."""
        return and_(self.table.c.host_id == HOST_ID, self.table.c.seq.between(FIRST_SEQ, SEQ))

    @property
    def in_window(self) -> ColumnElement[bool]:
        """The rows of the window that ends with the snapshot at hand.

        The range of numbers is what keeps a statement to the window's part of the primary key; the times are what
        counts, should the host's clock have been set back.
        """
        return and_(self.in_span, snapshots.c.end > AFTER, snapshots.c.end <= UNTIL)

    def of_keys(self, conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool] | None:
        """The rows whose keys meet those of some conditions that are about keys alone; None if none of them is.

        It says nothing new, but is known before the first row is read: of a whole window it leaves few rows to look at.
        """
        keys = self.keys
        if keys is None:
            return None
        about = [each for each in conditions if tables_of(each) == {keys}]
        if not about:
            return None
        known = select(keys.c.key_id).where(keys.c.host_id == HOST_ID, *about).correlate(None)
        return self.table.c.key_id.in_(known)

    def select(
        self,
        columns: Sequence[ColumnElement[Any]],
        *conditions: ColumnElement[bool],
        reads: ColumnElement[Any] | None = None,
    ) -> Select[Any]:
        """Selects `columns` of the rows that meet all conditions.

        Other tables are joined if `columns`, `conditions` or what else the statement `reads` name them: in statements
        that aggregate, SQLite would look up for every row even what is not used.
        """
        read = tables_of(*columns, *conditions, *(() if reads is None else (reads,)))
        rows: FromClause = self.table
        for join in (*self.joined, *(other for other in self.others if other.table in read)):
            rows = rows.join(join.table, join.on, isouter=join.outer)
        return select(*columns).select_from(rows).where(*conditions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Category:
    """One kind of event: Sigma's `logsource.category`, with all in which it differs from the others."""

    name: str
    fields: Mapping[str, Field]
    """By Sigma's name, in the order of the documentation."""
    rows: Rows
    weights: Mapping[str, ColumnElement[Any]]
    """How many events a row stands for: `ANY` of them, and those of each outcome if they have outcomes."""
    direction: ColumnElement[Any]
    """Tells actors, and the two meanings of a port, apart; NULL where there is nothing to tell apart."""
    actors: Mapping[str | None, tuple[Field, ...]]
    """By direction: what the matches of a single-event rule are grouped by when it does not say."""
    example_group: str
    """A group-by that faults suggest."""
    example_counted: str
    """A field for a value_count that faults suggest."""
    example_summed: str
    """The same for a value_sum."""
    alike: tuple[str, ...] = ()
    """The columns of rows, key and session first, by which many may be added up: of those the same is known."""
    packed: bool = False
    """Whether the rows are made of what is packed, for as long as rules look at them."""
    days: Rows | None = None
    """What rows add up to by day; None where nothing is kept of them."""

    @property
    def grouping(self) -> dict[str, Field]:
        """The fields that say who or what."""
        return {name: field for name, field in self.fields.items() if field.groups}

    @property
    def measures(self) -> dict[str, Field]:
        """The fields whose values add up, and to the same whatever the order: whole numbers that say how much."""
        return {name: field for name, field in self.fields.items() if field.kind is Kind.INTEGER and not field.groups}
