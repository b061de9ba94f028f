"""Looks at rows once for many rules: a statement says of each row which of them it concerns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, LargeBinary, case, literal_column, type_coerce

from detector.store.columns import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection

    from detector.domain import SnapshotRef
    from detector.ruleset.conditions import Matching
    from detector.ruleset.events import Category

# A bit each, in a number that both databases have.
_MOST_RULES = 60
# Of one statement, as of one rule: see detector.ruleset.compile.
_MOST_COMPARISONS = 400
_MOST_VALUES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What a rule wants to know of the rows that concern it."""

    category: Category
    matching: Matching
    columns: tuple[ColumnElement[Any], ...]
    """Addresses come as their bytes."""


@dataclass(slots=True)
class _Batch:
    """The rules of one statement, and where in its rows the columns of each are."""

    category: Category
    rules: list[int] = field(default_factory=list)
    conditions: list[ColumnElement[bool]] = field(default_factory=list)
    columns: list[ColumnElement[Any]] = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)
    comparisons: int = 0
    values: int = 0

    def takes(self, wanted: Wanted) -> bool:
        return not self.rules or (
            self.category is wanted.category
            and len(self.rules) < _MOST_RULES
            and self.comparisons + wanted.matching.comparisons <= _MOST_COMPARISONS
            and self.values + wanted.matching.values <= _MOST_VALUES
        )

    def add(self, rule: int, wanted: Wanted) -> None:
        known = {id(column): place for place, column in enumerate(self.columns)}
        for column in wanted.columns:
            if id(column) not in known:
                known[id(column)] = len(self.columns)
                self.columns.append(column)
        self.rules.append(rule)
        self.conditions.append(wanted.matching.rows)
        self.places.append(tuple(known[id(column)] for column in wanted.columns))
        self.comparisons += wanted.matching.comparisons
        self.values += wanted.matching.values

    def statement(self, *, span: bool) -> Any:
        bits = (
            case((condition, literal_column(str(1 << bit), BigInteger)), else_=literal_column("0", BigInteger))
            for bit, condition in enumerate(self.conditions)
        )
        rows = self.category.rows
        within, number = (rows.in_span, [rows.table.c.seq]) if span else (rows.in_snapshot, [])
        return rows.select([reduce(add, bits), *number, *map(plain, self.columns)], within).order_by(*rows.order)


class Sieve:
    """Rules of any categories, in as few statements as the databases take."""

    def __init__(self, rules: Sequence[Wanted], *, span: bool = False) -> None:
        """`span`: it is for `rows_of_span`."""
        self._number = len(rules)
        batches: list[_Batch] = []
        latest: dict[str, _Batch] = {}
        for rule, wanted in enumerate(rules):
            batch = latest.get(wanted.category.name)
            if batch is None or not batch.takes(wanted):
                batch = latest[wanted.category.name] = _Batch(wanted.category)
                batches.append(batch)
            batch.add(rule, wanted)
        self._statements = [(batch.statement(span=span), batch) for batch in batches]

    def rows(self, connection: Connection, snapshot: SnapshotRef) -> list[list[tuple[Any, ...]]]:
        """For each rule the columns that it wants of each row of `snapshot` that concerns it, in the rows' order."""
        place = {"host_id": snapshot.host_id, "seq": snapshot.seq, "end": snapshot.end}
        found: list[list[tuple[Any, ...]]] = [[] for _ in range(self._number)]
        for statement, batch in self._statements:
            for bits, *values in connection.execute(statement, place):
                for which in _set_bits(bits):
                    found[batch.rules[which]].append(tuple(values[each] for each in batch.places[which]))
        return found

    def rows_of_span(self, connection: Connection, host_id: int, span: tuple[int, int]) -> list[list[tuple[Any, ...]]]:
        """The same of the snapshots from one number to another, each row after the number of its snapshot."""
        place = {"host_id": host_id, "first_seq": span[0], "seq": span[1]}
        found: list[list[tuple[Any, ...]]] = [[] for _ in range(self._number)]
        for statement, batch in self._statements:
            for bits, seq, *values in connection.execute(statement, place):
                for which in _set_bits(bits):
                    found[batch.rules[which]].append((seq, *(values[each] for each in batch.places[which])))
        return found


def plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column as the database has it: an address need not be made of its bytes."""
    return type_coerce(column, LargeBinary) if isinstance(column.type, Address) else column


def _set_bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
