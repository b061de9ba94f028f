"""Many rows in one statement: on Postgres each row of an `executemany` would be a statement of its own."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Integer,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError

from detector.store.columns import UtcDateTime
from detector.store.json_text import written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Dialect, FromClause, Table
    from sqlalchemy.types import TypeEngine


def add(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Inserts rows, each with the columns of these names in this order."""
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        if bound := _as_bound(connection, table, names, list(rows)):
            connection.exec_driver_sql(_insert(connection, table, names), bound)
        return
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, names))
    statement = f"COPY {quote(table.name)} ({columns}) FROM STDIN"
    # A cursor of the driver's own, in the same transaction.
    raw: Any = connection.connection
    driver: Any = connection.dialect.dbapi
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in _as_copied(table, names, rows, connection.dialect):
                copy.write_row(row)
    except driver.Error as fault:
        # Which SQLAlchemy does for all that goes through it.
        raise DBAPIError.instance(statement, None, fault, driver.Error, dialect=connection.dialect) from fault


def add_any(
    connection: Connection,
    table: Table,
    names: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    *,
    missing: bool = False,
) -> None:
    """The same for a login that may insert some rows only, as Postgres lets it not copy, or if some may be there.

    Args:
        missing: whether only those are inserted that are not there yet.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        statement = _inserting(table, names, missing=missing)
        connection.execute(statement, _arrays(connection, table, names, rows))
        return
    text = _insert(connection, table, names, "INSERT OR IGNORE" if missing else "INSERT")
    connection.exec_driver_sql(text, _as_bound(connection, table, names, rows))


def change(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
    """Gives rows that exist new values; the first of the columns says which row it is."""
    key, *others = names
    if not rows or not others:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(_changing(table, names), _arrays(connection, table, names, rows))
        return
    quote = connection.dialect.identifier_preparer.quote
    new = ", ".join(f"{quote(name)} = ?" for name in others)
    text = f"UPDATE {table.name} SET {new} WHERE {quote(key)} = ?"
    connection.exec_driver_sql(text, _as_bound(connection, table, (*others, key), [(*row[1:], row[0]) for row in rows]))


def among(connection: Connection, column: ColumnElement[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Whether a column of numbers, text or bytes is one of `values`: numbers may be any number, others a thousand.

    Numbers, and on Postgres all values, are one parameter, so that it is the same statement however many they are, and
    is planned once.
    """
    if connection.dialect.name == "postgresql":
        # Joined, and not compared with any(…): of a table without statistics Postgres would compare each row with each.
        return column.in_(select(func.unnest(_one_parameter(connection, column, list(values))).column_valued()))
    if not isinstance(column.type, Integer):
        return column.in_(values)
    return column.in_(select(func.json_each(json.dumps(sorted(values))).table_valued("value").c.value))


def rows_among(
    connection: Connection, columns: Sequence[ColumnElement[int]], rows: Collection[Sequence[int]]
) -> ColumnElement[bool]:
    """Whether columns of numbers are together one of `rows`, which may be any number of them."""
    names = [f"column_{number}" for number in range(len(columns))]
    given = listed(connection, dict(zip(names, columns, strict=True)), rows)
    return tuple_(*columns).in_(select(*(given.c[name] for name in names)))


def listed(
    connection: Connection, columns: Mapping[str, ColumnElement[Any]], rows: Collection[Sequence[int | str]]
) -> FromClause:
    """Rows of numbers or text as a table to select from.

    Args:
        columns: the names of its columns, and columns of the same types.
        rows: of which there are some.
    """
    if connection.dialect.name != "postgresql":
        value = func.json_each(json.dumps([list(row) for row in rows])).table_valued("value").c.value
        picked = (func.json_extract(value, f"$[{place}]").label(name) for place, name in enumerate(columns))
        return select(*picked).subquery()
    arrays = (
        _one_parameter(connection, column, values)
        for column, values in zip(columns.values(), zip(*rows, strict=True), strict=True)
    )
    return func.unnest(*arrays).table_valued(*columns).render_derived()


def upsert(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
    """Inserts rows of numbers, text and bytes, each replacing the one that has its primary key."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(_replacing(table, names), _arrays(connection, table, names, rows))
        return
    quote = connection.dialect.identifier_preparer.quote
    keys = [column.name for column in table.primary_key]
    new = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in names if name not in keys)
    text = f"{_insert(connection, table, names)} ON CONFLICT ({', '.join(map(quote, keys))}) DO UPDATE SET {new}"
    connection.exec_driver_sql(text, _as_bound(connection, table, names, rows))


# There are as many as there are tables.
@cache
def _replacing(table: Table, names: tuple[str, ...]) -> Any:
    # Here, since a collector has no need of it: 4 MB.
    from sqlalchemy.dialects import postgresql

    keys = [column.name for column in table.primary_key]
    statement = postgresql.insert(table).from_select(list(names), _selected(table, names))
    replaced = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=replaced)


@cache
def _inserting(table: Table, names: tuple[str, ...], *, missing: bool) -> Any:
    from sqlalchemy.dialects import postgresql

    statement = postgresql.insert(table).from_select(list(names), _selected(table, names))
    return statement.on_conflict_do_nothing() if missing else statement


# Of some tables, in each of the ways in which rows change.
@lru_cache(maxsize=256)
def _changing(table: Table, names: tuple[str, ...]) -> Any:
    key, *others = names
    new = _selected(table, names).subquery()
    return update(table).where(table.c[key] == new.c[key]).values({name: new.c[name] for name in others})


def _selected(table: Table, names: tuple[str, ...]) -> Any:
    """The rows of `_arrays`."""
    # Arrays as text: the driver takes five times as long to write them.
    arrays = (cast(bindparam(_parameter(name), type_=Text), ARRAY(table.c[name].type)) for name in names)
    new = func.unnest(*arrays).table_valued(*names).render_derived()
    return select(*(new.c[name] for name in names))


def _parameter(name: str) -> str:
    # In an UPDATE the names of columns mean new values for these.
    return f"all_{name}"


def _insert(connection: Connection, table: Table, names: Sequence[str], how: str = "INSERT") -> str:
    """How rows are inserted into SQLite."""
    columns = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    return f"{how} INTO {table.name} ({columns}) VALUES ({', '.join('?' * len(names))})"


def _as_bound(
    connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[tuple[Any, ...]]:
    """Rows as the driver of SQLite takes them. (SQLAlchemy would look at each value several times.)"""
    kinds = (table.c[name].type.dialect_impl(connection.dialect) for name in names)
    bound = {place: how for place, kind in enumerate(kinds) if (how := kind.bind_processor(connection.dialect))}
    if not bound or not rows:
        return list(map(tuple, rows))
    columns = list(zip(*rows, strict=True))
    for place, how in bound.items():
        columns[place] = tuple(map(how, columns[place]))
    return list(zip(*columns, strict=True))


def _as_copied(
    table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]], dialect: Dialect
) -> Iterable[Sequence[Any]]:
    """Rows as the driver of Postgres takes them."""
    kinds = [table.c[name].type for name in names]
    if not any(isinstance(kind, TypeDecorator | JSON) for kind in kinds):
        return rows
    columns = zip(*rows, strict=True)
    return zip(*(_plain(kind, values, dialect) for kind, values in zip(kinds, columns, strict=True)), strict=True)


def _arrays(
    connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Sequence[Any]]
) -> dict[str, str]:
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {_parameter(name): _array(table.c[name].type, values, connection.dialect) for name, values in columns}


def _one_parameter(connection: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[Any]:
    """Values for a column, as an array of Postgres."""
    written = bindparam(None, _array(column.type, values, connection.dialect), type_=Text, unique=True)
    return cast(written, ARRAY(column.type))


def _array(kind: TypeEngine[Any], values: Sequence[Any], dialect: Dialect) -> str:
    """As Postgres writes an array."""
    return "{" + ",".join(map(_element, _plain(kind, values, dialect))) + "}"


def _plain(kind: TypeEngine[Any], values: Sequence[Any], dialect: Dialect) -> Sequence[Any]:
    """Values of a column of Postgres as numbers, text and bytes."""
    if isinstance(kind, UtcDateTime):
        # As text, since most rows of a snapshot have its start or end, and to write one down takes a microsecond.
        known = {each: None if each is None else str(kind.process_bind_param(each, dialect)) for each in set(values)}
        return [known[each] for each in values]
    if isinstance(kind, TypeDecorator):
        return [kind.process_bind_param(each, dialect) for each in values]
    if isinstance(kind, JSON):
        return [None if each is None and kind.none_as_null else written(each) for each in values]
    return values


def _element(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return f'"\\\\x{value.hex()}"'
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return repr(value)
