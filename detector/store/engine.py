"""Opens the database, SQLite in WAL mode or Postgres, and its transactions."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from detector.errors import OF_VALUES, ConfigError, StoreError
from detector.store import damage, json_text, sqlite
from detector.store.faults import SQLITE_BUSY_SECONDS, is_no_text, named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# About twice the number of statements that a large rule set compiles to: below that SQLAlchemy compiles them anew
# for every snapshot.
_STATEMENT_CACHE = 3000
_ALIKE: dict[str, Any] = {
    "query_cache_size": _STATEMENT_CACHE,
    "json_serializer": json_text.written,
    "json_deserializer": json_text.read,
}
# Of Postgres: how long to wait for a connection, for an answer that the network may have swallowed, and in between.
_POSTGRES_PATIENCE = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_FLUSHES_AT_WILL = (15,)
_UNSOUND_HINT = "somebody has changed it, or a disk has: see detector verify; delete that row, or put a copy back"


def parse_url(url: str) -> URL:
    """The database address, checked.

    Raises:
        ConfigError: not an address, or of a database that is neither SQLite nor Postgres. The message never
            shows the password.
    """
    hint = "write sqlite:////var/lib/detector/detector.db or postgresql://user@host/database, escaped as in URLs"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # ValueError: a port that is no number, which is what an unescaped "/" in a password looks like.
        raise ConfigError("database.url is not a database address", hint=hint) from None
    backend = parsed.get_backend_name()
    if "@" in (parsed.host or ""):
        # What follows the first "@" of a password would be taken for the host, and shown.
        raise ConfigError("database.url has more than one @", hint="write an @ in a password as %40")
    if backend == "sqlite" and parsed.host:
        raise ConfigError(
            "database.url names a host, which SQLite has not",
            hint="write four slashes before an absolute path: sqlite:////var/lib/detector/detector.db",
        )
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigError(f"database.url names the database {backend!r}, which is not supported", hint=hint)
    return parsed.set(drivername="sqlite")


def open_store(url: str, *, statement_seconds: int | None = None) -> Engine:
    """An engine for `url`. Transactions of SQLite take the write lock at once when opened by `writing`.

    Args:
        url: see `parse_url`.
        statement_seconds: the longest that Postgres may take for one statement; None: as the server is set.

    Raises:
        ConfigError: see `parse_url`.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "postgresql":
        patience = {name: value for name, value in _POSTGRES_PATIENCE.items() if name not in parsed.query}
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=patience, **_ALIKE)
        if statement_seconds is not None:
            # For the transaction: a connection pooler in between may hand the session to others.
            limit = f"SET LOCAL statement_timeout = {int(statement_seconds * 1000)}"
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(limit))
        event.listen(engine, "begin", _begin_postgres)
        return engine
    engine = create_engine(parsed, connect_args={"timeout": SQLITE_BUSY_SECONDS}, **_ALIKE)
    event.listen(engine, "do_connect", sqlite.connect)
    event.listen(engine, "connect", sqlite.prepare)
    event.listen(engine, "checkout", sqlite.check_fresh)
    event.listen(engine, "commit", sqlite.check_unchanged)
    event.listen(engine, "begin", sqlite.begin)
    return engine


def relaxed(engine: Engine) -> Engine:
    """The same, for deleting: it does not matter if the power fails, so that SQLite need not wait for the disk at each
    commit, and how much is left has to be known at once.

    What others commit afterwards is on the disk with all that was before it.
    """
    return engine.execution_options(detector_relaxed=True)


def place(engine: Engine) -> str:
    """Where the database is, without anything that might be secret."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return url.database or ":memory:"
    # Passwords may also stand among the options after "?".
    bare = URL.create("postgresql", username=url.username, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()


def version(connection: Connection) -> str:
    """What the database is, and its version: `SQLite 3.40.1`, `Postgres 15.6`."""
    number = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    return f"{'SQLite' if connection.dialect.name == 'sqlite' else 'Postgres'} {number}"


def clock(connection: Connection) -> datetime | None:
    """The time by a database server; None: it has no clock of its own."""
    if connection.dialect.name == "sqlite":
        return None
    return cast("datetime", connection.scalar(select(func.clock_timestamp())))


def _begin_postgres(connection: Connection) -> None:
    # How many rows a table has is asked right after some were deleted.
    relaxed_write = {"detector_relaxed", "detector_writes"} <= connection.get_execution_options().keys()
    if relaxed_write and (connection.dialect.server_version_info or (0,)) >= _FLUSHES_AT_WILL:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, rolled back on any exception.

    Raises:
        StoreError: the database is away or locked for too long, or holds what detector does not write.
    """
    with transaction(engine, detector_writes=True) as connection:
        opened = connection.info.get(sqlite.OPENED_FILE)
        yield connection
    if opened:
        # What went into a file that was set aside meanwhile is not stored.
        sqlite.check_same_file(None, *opened)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that sees a single state of the database and writes nothing.

    Raises:
        StoreError: the database is away, or holds what detector does not write.
    """
    # SQLite knows nothing less; Postgres would show each statement another state.
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with transaction(engine, **options, **damage.noted()) as connection:
        yield connection


@contextmanager
def outside(engine: Engine) -> Iterator[Connection]:
    """A connection without a transaction, each of whose statements counts at once: for what allows none.

    Raises:
        StoreError: the database is away.
    """
    try:
        # Of SQLite this is what the connection is anyway, until somebody says BEGIN.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT", detector_outside=True) as connection:
            yield connection
    except DBAPIError as fault:
        raise named(fault, place(engine), database_file(engine), None) from fault


@contextmanager
def transaction(engine: Engine, **options: Any) -> Iterator[Connection]:
    """One transaction with these execution options; see `writing` and `reading`."""
    opened: tuple[str, int] | None = None
    try:
        with engine.connect().execution_options(**options) as connection:
            opened = connection.info.get(sqlite.OPENED_FILE)
            with connection.begin():
                yield connection
    except DBAPIError as fault:
        if is_no_text(fault) and (unsound := unsound_rows(engine)) is not None:
            raise unsound from fault
        raise named(fault, place(engine), database_file(engine), opened[1] if opened else None) from fault
    except OF_VALUES as fault:
        if (unsound := unsound_rows(engine)) is None:
            # It is not the database's.
            raise
        raise unsound from fault


def unsound_rows(engine: Engine) -> StoreError | None:
    """What stands in the database that detector does not write, after something could not be made of what was read."""
    # Here, since it is hardly ever needed.
    from detector.store.unsound import first_unsound

    with engine.connect() as connection:
        found = first_unsound(connection)
    return None if found is None else StoreError(f"database {place(engine)}: {found}", hint=_UNSOUND_HINT)


def database_file(engine: Engine) -> Path | None:
    """The file of an SQLite database; None in memory, or elsewhere."""
    database = engine.url.database
    return Path(database) if engine.dialect.name == "sqlite" and database and database != ":memory:" else None
