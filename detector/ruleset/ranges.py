"""Lists in the database: ranges of bytes that a statement looks one value up in, however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, bindparam, delete, literal_column, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from detector.ruleset.texts import FoldedCase
from detector.ruleset.values import folded
from detector.store import bulk
from detector.store.columns import Address
from detector.store.tables import list_ranges, named_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.sql.compiler import SQLCompiler

_POSTGRES = "postgresql"
_ADDRESS_BYTES = 16
# UTF-8 has no such byte: what begins with a text is no greater than the text and this.
_BEYOND_TEXT = b"\xff"
_FRESH = timedelta(days=1)
# A rule that somebody tries out, or takes back, finds its list still there.
_KEPT = timedelta(days=30)
_AT_ONCE = 10_000
_BACKWARDS = "endswith"
_COLUMNS = ("digest", "low", "high")

Range = tuple[bytes, bytes]
"""First and last of the values that are meant."""


class _Backwards(FunctionElement[str]):
    """A text from its end to its beginning."""

    inherit_cache = True


@compiles(_Backwards)
def _backwards(element: _Backwards, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite knows none by itself: see detector.store.functions.
    return f"reversed({compiler.process(element.clauses, **options)})"


@compiles(_Backwards, _POSTGRES)
def _backwards_postgres(element: _Backwards, compiler: SQLCompiler, **options: Any) -> str:
    return f"reverse({compiler.process(element.clauses, **options)})"


class _Utf8(FunctionElement[bytes]):
    """The bytes of a text: they compare alike on both databases."""

    type = LargeBinary()
    inherit_cache = True


@compiles(_Utf8)
def _utf8(element: _Utf8, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS BLOB)"


@compiles(_Utf8, _POSTGRES)
def _utf8_postgres(element: _Utf8, compiler: SQLCompiler, **options: Any) -> str:
    return f"convert_to({compiler.process(element.clauses, **options)}, 'UTF8')"


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a rule compares with, as ranges that are sorted and apart. Two of one digest are the same."""

    digest: bytes
    """BLAKE2b-128."""
    make: Callable[[], Iterator[Range]]
    """Gives them once more: kept as such they would take many times the room of the list."""


def of_networks(networks: bytes) -> Ranges:
    """The spans of addresses that a `NamedList` has."""
    size = _ADDRESS_BYTES
    edges = range(0, len(networks), 2 * size)
    return Ranges(
        _digest("networks", networks),
        lambda: ((networks[at : at + size], networks[at + size : at + 2 * size]) for at in edges),
    )


def of_names(names: Iterable[str], way: str) -> Ranges:
    """The texts that equal one of `names`, or start or end with it (`way`); the case of ASCII letters aside."""
    backwards = way == _BACKWARDS
    lows = sorted({folded(name[::-1] if backwards else name).encode() for name in names})
    return Ranges(
        # No name has a NUL in it.
        _digest(way or "names", b"\0".join(lows)),
        lambda: _beginning(lows) if way else ((low, low) for low in lows),
    )


def _digest(kind: str, content: bytes) -> bytes:
    return blake2b(content, digest_size=16, person=kind.encode()).digest()


def _beginning(lows: list[bytes]) -> Iterator[Range]:
    """What begins with one of `lows`; what begins with a longer one is among what begins with a shorter one."""
    last: bytes | None = None
    for low in lows:
        if last is None or not low.startswith(last):
            last = low
            yield low, low + _BEYOND_TEXT


def holds(field: ColumnElement[Any], ranges: Ranges, way: str) -> ColumnElement[bool]:
    """Whether the value of `field`, an address or a text, is in one of `ranges`; NULL or false if it is in none.

    The last range that begins no later than the value is the only one that may hold it: the primary key leads to it.
    """
    value: ColumnElement[Any] = _Utf8(FoldedCase(_Backwards(field) if way == _BACKWARDS else field))
    if isinstance(field.type, Address):
        value = type_coerce(field, LargeBinary)
    digest = bindparam(None, ranges.digest, type_=LargeBinary, unique=True)
    last = (
        select(list_ranges.c.high)
        .where(list_ranges.c.digest == digest, list_ranges.c.low <= value)
        .order_by(list_ranges.c.low.desc())
        .limit(literal_column("1"))
        .correlate_except(list_ranges)
        .scalar_subquery()
    )
    return last >= value


def missing(connection: Connection, wanted: Iterable[Ranges]) -> list[Ranges]:
    """Those of `wanted` that the database does not have."""
    by_digest = {each.digest: each for each in wanted}
    if not by_digest:
        return []
    found = connection.execute(select(named_lists.c.digest).where(named_lists.c.digest.in_(by_digest)))
    known = {bytes(digest) for (digest,) in found}
    return [each for digest, each in by_digest.items() if digest not in known]


def keep(connection: Connection, wanted: Iterable[Ranges]) -> None:
    """Sees to it that the database has all of `wanted`, and forgets what nobody has wanted for a month.

    Where all is there it is one question, and a write once a day. Of several processes that do so at once one writes a
    list, and the others wait for it.
    """
    by_digest = {each.digest: each for each in wanted}
    if not by_digest:
        return
    now = datetime.now(UTC)
    asked = select(named_lists.c.digest, named_lists.c.used_at).where(named_lists.c.digest.in_(by_digest))
    used = {bytes(digest): at for digest, at in connection.execute(asked)}
    for digest in by_digest.keys() - used.keys():
        _write(connection, by_digest[digest], now)
    if stale := [digest for digest, at in used.items() if now - at > _FRESH]:
        connection.execute(update(named_lists).where(named_lists.c.digest.in_(stale)).values(used_at=now))
    if stale or len(used) < len(by_digest):
        _forget(connection, now - _KEPT)


def _write(connection: Connection, ranges: Ranges, now: datetime) -> None:
    insert = (postgresql if connection.dialect.name == _POSTGRES else sqlite).insert
    new = insert(named_lists).values(digest=ranges.digest, used_at=now).on_conflict_do_nothing()
    # Whoever wrote it meanwhile has written all of it, since that is one transaction.
    if connection.execute(new.returning(named_lists.c.digest)).first() is None:
        return
    rows: list[tuple[bytes, bytes, bytes]] = []
    for low, high in ranges.make():
        rows.append((ranges.digest, low, high))
        if len(rows) == _AT_ONCE:
            _add(connection, rows)
            rows = []
    _add(connection, rows)


def _add(connection: Connection, rows: list[tuple[bytes, bytes, bytes]]) -> None:
    if connection.dialect.name == _POSTGRES:
        bulk.add(connection, list_ranges, _COLUMNS, rows)
    elif rows:
        # By the driver itself it takes a quarter of the time, for which all others wait.
        connection.exec_driver_sql(f"INSERT INTO {list_ranges.name} ({', '.join(_COLUMNS)}) VALUES (?, ?, ?)", rows)


def _forget(connection: Connection, before: datetime) -> None:
    old = delete(named_lists).where(named_lists.c.used_at < before).returning(named_lists.c.digest)
    for (digest,) in connection.execute(old).all():
        connection.execute(delete(list_ranges).where(list_ranges.c.digest == bytes(digest)))
