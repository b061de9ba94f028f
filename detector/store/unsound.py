"""Finds what stands in the tables and was not put there by detector.

Nothing is checked as it is read, which would cost too much: this looks once something could not be made of what was
read. SQLite takes any value in any column; Postgres takes what is of the type.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
from sqlalchemy import (
    JSON,
    Boolean,
    Double,
    Function,
    Integer,
    LargeBinary,
    String,
    Text,
    and_,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
)

from detector.matchers import from_stored
from detector.store.columns import Address, UtcDateTime
from detector.store.tables import alert_silences, alerts, held_findings, metadata, models, notices
from detector.store.tables.schema import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, Table

# Python's own limits, in microseconds since 1970.
_FIRST = (datetime.min.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days * 86_400_000_000
_LAST = (datetime.max.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days * 86_400_000_000
_LARGEST = 1.7976931348623157e308
_MOST_JSON, _MOST_TEXT = 20_000, 20_000
_NOT_ASCII = "*[^\x01-\x7f]*"
# Of all tables together; the smaller ones, which people read, come first.
_PATIENCE_SECONDS = 10.0
_ADDRESS_BYTES = 16


@dataclass(frozen=True, slots=True)
class Unsound:
    """A value that is not of its column's kind."""

    table: str
    key: str
    """`alert_id 3`."""
    column: str

    def __str__(self) -> str:
        return f"table {self.table}, {self.key}: {self.column} holds what detector does not write"


def first_unsound(connection: Connection) -> Unsound | None:
    """The first value found that cannot be what its column is for; None: none was, in the time that there is."""
    until = time.monotonic() + _PATIENCE_SECONDS
    for table in sorted(metadata.sorted_tables, key=lambda each: each.name not in _SHAPES_OF):
        if time.monotonic() > until:
            break
        for found in _in_table(connection, table):
            return found
    return None


def _in_table(connection: Connection, table: Table) -> Iterator[Unsound]:
    conditions = {column: wrong for column in table.columns if (wrong := _wrong(connection, column)) is not None}
    if (
        conditions
        and connection.execute(select(1).select_from(table).where(or_(*conditions.values())).limit(1)).first()
    ):
        for column, wrong in conditions.items():
            for key in _keys(connection, table, wrong):
                yield Unsound(table.name, key, column.name)
    for column in table.columns:
        if isinstance(column.type, JSON):
            yield from _in_json(connection, table, column)
        elif isinstance(column.type, String) and connection.dialect.name == "sqlite":
            yield from _in_text(connection, table, column)


def _keys(connection: Connection, table: Table, condition: ColumnElement[bool]) -> Iterator[str]:
    columns = list(table.primary_key.columns)
    for row in connection.execute(select(*(_raw(connection, each) for each in columns)).where(condition).limit(1)):
        yield _named(columns, row)


def _named(columns: list[Column[Any]], values: Sequence[str]) -> str:
    return ", ".join(f"{column.name} {value}" for column, value in zip(columns, values, strict=True))


def _raw(connection: Connection, column: Column[Any]) -> ColumnElement[str]:
    """As it stands there, whatever it is, as text."""
    if connection.dialect.name == "sqlite":
        return Function("quote", column, type_=Text())
    return cast(column, Text())


def _wrong(connection: Connection, column: Column[Any]) -> ColumnElement[bool] | None:
    """What is true of a row whose value is not of the column's kind."""
    kind = column.type
    parts: list[ColumnElement[bool]] = []
    if connection.dialect.name == "sqlite":
        is_a = func.typeof(literal_column(f'"{column.table.name}"."{column.name}"'))
        parts.append(is_a.not_in([*_storage(kind), "null"]))
        if isinstance(kind, UtcDateTime):
            parts.append(not_(type_coerce(column, Integer()).between(_FIRST, _LAST)))
    if isinstance(kind, Double):
        parts.append(not_(column.between(-_LARGEST, _LARGEST)))
    elif isinstance(kind, Boolean) and connection.dialect.name == "sqlite":
        parts.append(type_coerce(column, Integer()).not_in([0, 1]))
    elif isinstance(kind, Words):
        parts.append(column.not_in(kind.words))
    elif isinstance(kind, Address):
        parts.append(func.length(type_coerce(column, LargeBinary())) != _ADDRESS_BYTES)
    elif isinstance(kind, LargeBinary) and kind.length is not None:
        parts.append(func.length(column) != kind.length)
    return and_(column.is_not(None), or_(*parts)) if parts else None


def _storage(kind: object) -> tuple[str, ...]:
    """What SQLite calls the kinds of values that a column may have."""
    if isinstance(kind, Double):
        return "real", "integer"
    if isinstance(kind, String | JSON):
        return ("text",)
    return ("blob",) if isinstance(kind, LargeBinary | Address) else ("integer",)


def _in_text(connection: Connection, table: Table, column: Column[Any]) -> Iterator[Unsound]:
    """What is not UTF-8: SQLite takes any bytes for text."""
    keys = list(table.primary_key.columns)
    found = select(cast(column, LargeBinary()), *(_raw(connection, key) for key in keys))
    rows: Any = connection.execute(found.where(column.op("GLOB")(_NOT_ASCII)).limit(_MOST_TEXT))
    for raw, *key in rows:
        try:
            bytes(raw).decode()
        except UnicodeDecodeError:
            yield Unsound(table.name, _named(keys, key), column.name)


def _in_json(connection: Connection, table: Table, column: Column[Any]) -> Iterator[Unsound]:
    keys = list(table.primary_key.columns)
    check: Callable[[str], object] = _SHAPES.get(column, json.loads)
    found = select(type_coerce(column, Text()), *(_raw(connection, key) for key in keys)).where(column.is_not(None))
    rows: Any = connection.execute(found.limit(_MOST_JSON))
    for text, *key in rows:
        try:
            # Postgres has read it already.
            check(text if connection.dialect.name == "sqlite" else json.dumps(text))
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
            yield Unsound(table.name, _named(keys, key), column.name)


class _Figures(TypedDict):
    separated: float
    beyond: float


def _shape(kind: Any) -> Callable[[str], object]:
    return msgspec.json.Decoder(kind).decode


def _matchers(text: str) -> object:
    return from_stored(msgspec.json.decode(text, type=list[tuple[str, str, str]]))


_Group = dict[str, str | float | bool | None]
_SHAPES: dict[Any, Callable[[str], object]] = {
    alerts.c.group: _shape(_Group),
    alerts.c.explanations: _shape(list[tuple[float, str]]),
    alerts.c.actors: _shape(list[str]),
    alerts.c.channels: _shape(list[str] | None),
    alerts.c.also_seen_by: _shape(dict[str, str]),
    alert_silences.c.matchers: _matchers,
    notices.c.content: _shape(dict[str, Any] | None),
    held_findings.c.group: _shape(_Group),
    models.c.features: _shape(list[str]),
    models.c.parameters: _shape(dict[str, Any]),
    models.c.figures: _shape(_Figures | None),
}
_SHAPES_OF = {column.table.name for column in _SHAPES}
