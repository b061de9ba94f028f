"""Writes many rows in one statement: on Postgres each row of an `executemany` would be a statement of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, LargeBinary, String, Text, bindparam, cast, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Table


def add(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Inserts rows of numbers and text, each with the columns of these names in this order."""
    if connection.dialect.name != "postgresql":
        if values := [dict(zip(names, row, strict=True)) for row in rows]:
            connection.execute(insert(table), values)
        return
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, names))
    # A cursor of the driver's own, in the same transaction.
    raw: Any = connection.connection
    with raw.cursor() as cursor, cursor.copy(f"COPY {quote(table.name)} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def upsert(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Inserts rows of numbers, text and bytes, each replacing the one that has its primary key."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    if connection.dialect.name != "postgresql":
        there = sqlite.insert(table)
        replaced = {name: there.excluded[name] for name in names if name not in keys}
        connection.execute(
            there.on_conflict_do_update(index_elements=keys, set_=replaced),
            [dict(zip(names, row, strict=True)) for row in rows],
        )
        return
    # Arrays as text: the driver takes five times as long to write them.
    source = func.unnest(*(cast(bindparam(name, type_=Text), ARRAY(table.c[name].type)) for name in names))
    new = source.table_valued(*names).render_derived()
    statement = postgresql.insert(table).from_select(list(names), select(*(new.c[name] for name in names)))
    statement = statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in names if name not in keys}
    )
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    connection.execute(statement, {name: _array(table, name, values) for name, values in columns.items()})


def _array(table: Table, name: str, values: Sequence[Any]) -> str:
    """As Postgres writes an array."""
    kind = table.c[name].type
    if isinstance(kind, LargeBinary):
        return "{" + ",".join("NULL" if each is None else f'"\\\\x{each.hex()}"' for each in values) + "}"
    if isinstance(kind, String):
        return "{" + ",".join("NULL" if each is None else _quoted(each) for each in values) + "}"
    return "{" + ",".join("NULL" if each is None else repr(each) for each in values) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
