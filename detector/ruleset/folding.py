"""Reads a long window for many correlations at once: what is the same of many rows is looked at once.

A day of a busy host has millions of rows, but of some ten thousand keys. The rows of a window are added up by all that
most rules look at: key, session, where the login came from, what the destination is called, and which outcomes there
were. Rules that compare the counts of single rows, or their scores, are not for this.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, Table, case, func, insert, select
from sqlalchemy.schema import CreateTable, DropTable
from sqlalchemy.sql import visitors

from detector.ruleset.events import Join, Rows, tables_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import ColumnElement, Connection

    from detector.ruleset.events import Category


@cache
def folded(category: Category) -> Folded | None:
    """How rows of a category are added up; None if they are not."""
    return Folded(category) if category.alike else None


class Folded:
    """Rows that are added up for a while, in a table that only their transaction sees."""

    def __init__(self, category: Category) -> None:
        self._source = category.rows.table
        self._within = category.rows.in_span
        # Of rows that are added up together, the outcomes that one has, all have: it is more than none, or none.
        self._outcomes = list(category.weights.values())
        self._alike = {"host_id", *category.alike}
        self._table = Table(
            f"folded_{self._source.name}",
            MetaData(),
            *(Column(column.name, column.type) for column in self._source.columns),
            prefixes=["TEMPORARY"],
        )
        joined, others = (
            tuple(
                Join(table=join.table, on=self.adapted(join.on), outer=join.outer)
                for join in joins
                if self._is_alike(join.on)
            )
            for joins in (category.rows.joined, category.rows.others)
        )
        self._beside = {join.table for join in (*joined, *others)}
        key_id, session, *_ = (self._table.c[name] for name in category.alike)
        place = (self._table.c.seq, key_id, session)
        self.rows = Rows(table=self._table, joined=joined, others=others, place=place)
        """What was added up: counts are sums, and `seq` is that of the last row."""

    def adapted(self, expression: ColumnElement[Any]) -> ColumnElement[Any]:
        """The same over what was added up."""

        def replaced(element: Any, **_: Any) -> Any:
            is_ours = isinstance(element, Column) and element.table is self._source
            return self._table.c[element.name] if is_ours else None

        over: ColumnElement[Any] = visitors.replacement_traverse(expression, {}, replaced)
        return over

    def knows(self, *expressions: ColumnElement[Any]) -> bool:
        """Whether expressions have one value for all rows that are added up together."""
        return all(map(self._is_alike, expressions)) and tables_of(*expressions) <= {self._source, *self._beside}

    @contextmanager
    def filled(self, connection: Connection, place: Mapping[str, Any]) -> Iterator[None]:
        """Adds up the rows of some snapshots, for as long as this lasts."""
        source = self._source.c
        alike = [column for column in source if column.name in self._alike]
        summed = [column for column in source if column.name not in {"seq", *self._alike}]
        statement = (
            select(func.max(source.seq), *alike, *map(func.sum, summed))
            .where(self._within)
            .group_by(*alike, *(case((each > 0, 1), else_=0) for each in self._outcomes))
        )
        names = ["seq", *(column.name for column in (*alike, *summed))]
        connection.execute(CreateTable(self._table))
        connection.execute(insert(self._table).from_select(names, statement), place)
        yield
        connection.execute(DropTable(self._table))

    def _is_alike(self, expression: ColumnElement[Any]) -> bool:
        return all(
            element.name in self._alike
            for element in visitors.iterate(expression)
            if isinstance(element, Column) and element.table is self._source
        )
