"""Opens the database: SQLite in WAL mode or Postgres, brought to the current schema by Alembic."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from detector import shipped
from detector.errors import ConfigError, StoreAwayError, StoreError
from detector.store.faults import SQLITE_BUSY_SECONDS, named

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from sqlalchemy.pool import ConnectionPoolEntry

# About twice the number of statements that a large rule set compiles to: below that SQLAlchemy compiles them anew
# for every snapshot.
_STATEMENT_CACHE = 3000
# Of Postgres: how long to wait for a connection, for an answer that the network may have swallowed, and in between.
_POSTGRES_PATIENCE = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_PAGE_BYTES = 8192
_OPENED_FILE, _SET = "opened_file", "set"
# What is left of SQLite's log when it has been as large as a snapshot of a scan.
_WAL_BYTES = 16 << 20
# So much of it is taken into the file at a time; SQLite counts in pages.
_CHECKPOINT_BYTES = 4 << 20
# SQLITE_BUSY of sqlite3.h.
_BUSY, _LOOK_AGAIN_SECONDS = 5, 0.02
_FLUSHES_AT_WILL = (15,)
_MIGRATION_SECONDS = 3600.0
# Of Postgres' advisory locks, so that it is no other program's: "dtmg".
_MIGRATING = 0x6474_6D67
# Alembic's own record of what it has done.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32)))


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
        engine = create_engine(parsed, query_cache_size=_STATEMENT_CACHE, pool_pre_ping=True, connect_args=patience)
        if statement_seconds is not None:
            # For the transaction: a connection pooler in between may hand the session to others.
            limit = f"SET LOCAL statement_timeout = {int(statement_seconds * 1000)}"
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(limit))
        event.listen(engine, "begin", _begin_postgres)
        return engine
    engine = create_engine(parsed, query_cache_size=_STATEMENT_CACHE, connect_args={"timeout": SQLITE_BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
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


def _prepare_sqlite(raw: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    path = raw.execute("PRAGMA database_list").fetchone()[2]
    record.info[_OPENED_FILE] = (path, Path(path).stat().st_ino) if path else None
    # The driver must not open transactions by itself: _begin_sqlite does.
    raw.isolation_level = None
    cursor = raw.cursor()
    # Of a file that is not written to yet. Later it would take the lock, and change nothing before a VACUUM.
    if not cursor.execute("PRAGMA page_count").fetchone()[0]:
        # A packed snapshot has about 2 kB: of the usual 4 kB half would often be empty. First, or it is as it was.
        cursor.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        # Pages that are free can be given back step by step.
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    _use_wal(cursor)
    cursor.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
    cursor.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_BYTES // _PAGE_BYTES}")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """The first ones to open a new file may do so at once, and this one lock is not waited for by SQLite."""
    import sqlite3

    until = time.monotonic() + SQLITE_BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as fault:
            if getattr(fault, "sqlite_errorcode", 0) & 0xFF != _BUSY or time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


def _begin_postgres(connection: Connection) -> None:
    # How many rows a table has is asked right after some were deleted.
    relaxed_write = {"detector_relaxed", "detector_writes"} <= connection.get_execution_options().keys()
    if relaxed_write and (connection.dialect.server_version_info or (0,)) >= _FLUSHES_AT_WILL:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail with SQLITE_BUSY_SNAPSHOT when another process
    # writes in between; taking the write lock at the start waits for it instead.
    options = connection.get_execution_options()
    if options.get("detector_outside"):
        # Whatever is set there stays.
        connection.info.pop(_SET, None)
        return
    if opened := connection.info[_OPENED_FILE]:
        _check_same_file(connection, *opened)
    # A migration that copies a table drops the old one, which would take the rows that refer to it for orphans. Within
    # a transaction this cannot be set, and the pool hands the same connection to others.
    migrates = options.get("detector_migrates")
    # Who comes second waits for as long as a large file takes.
    patience = _MIGRATION_SECONDS if migrates else SQLITE_BUSY_SECONDS
    wanted = (
        f"PRAGMA foreign_keys={'OFF' if migrates else 'ON'}",
        f"PRAGMA busy_timeout={int(patience * 1000)}",
        f"PRAGMA synchronous={'NORMAL' if options.get('detector_relaxed') else 'FULL'}",
    )
    # A connection stays as the last one who had it left it.
    if connection.info.get(_SET) != wanted:
        for pragma in wanted:
            connection.exec_driver_sql(pragma)
        connection.info[_SET] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("detector_writes") else "BEGIN")


def _check_same_file(connection: Connection | None, path: str, inode: int) -> None:
    """What is written to a file that was deleted or replaced would be gone with the process."""
    try:
        same = Path(path).stat().st_ino == inode
    except FileNotFoundError:
        same = False
    if not same:
        # The next attempt opens what is there by then.
        if connection is not None:
            connection.invalidate()
        raise StoreAwayError(
            f"database {path}: the file was removed or replaced", hint="put it back, or restart detector"
        )


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, rolled back on any exception.

    Raises:
        StoreError: the database is away or locked for too long.
    """
    with _transaction(engine, detector_writes=True) as connection:
        opened = connection.info.get(_OPENED_FILE)
        yield connection
    if opened:
        # What went into a file that was set aside meanwhile is not stored.
        _check_same_file(None, *opened)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that sees a single state of the database and writes nothing.

    Raises:
        StoreError: the database is away.
    """
    # SQLite knows nothing less; Postgres would show each statement another state.
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with _transaction(engine, **options) as connection:
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
def _transaction(engine: Engine, **options: Any) -> Iterator[Connection]:
    opened: tuple[str, int] | None = None
    try:
        with engine.connect().execution_options(**options) as connection:
            opened = connection.info.get(_OPENED_FILE)
            with connection.begin():
                yield connection
    except DBAPIError as fault:
        raise named(fault, place(engine), database_file(engine), opened[1] if opened else None) from fault


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Brings the schema to the newest revision; returns the revision before (None: empty) and after.

    Of several that do so at once, one does it and the others find it done.

    Raises:
        StoreError: the database is away, or newer than this program.
    """
    from alembic import command

    _make_folder(engine)
    return _migrate(engine, lambda config: command.upgrade(config, "head"))


def downgrade(engine: Engine, revision: str) -> tuple[str | None, str]:
    """Takes the schema back to an older `revision`; returns the revision before and after.

    What the older schema has no room for is lost: see the `downgrade` of each migration.

    Raises:
        StoreError: the database is away, missing, newer than this program, or not as new as `revision`.
    """
    from alembic import command

    _check_there(engine)
    if revision not in revisions():
        raise StoreError(f"there is no schema {revision}", hint=f"there are: {', '.join(revisions())}")

    def take_back(config: Any) -> None:
        before = _revision(config.attributes["connection"])
        if before is None or before < revision:
            raise StoreError(f"the database's schema is {before or 'empty'}, which is older than {revision}")
        command.downgrade(config, revision)

    return _migrate(engine, take_back)


def _migrate(engine: Engine, move: Callable[[Any], None]) -> tuple[str | None, str]:
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")).replace("%", "%%"))
    with _transaction(engine, detector_writes=True, detector_migrates=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
        before = _revision(connection)
        if before is not None and before not in revisions():
            raise _too_new(before)
        config.attributes["connection"] = connection
        try:
            move(config)
        except CommandError as fault:
            raise _too_new(before) from fault
        after = _revision(connection)
    return before, str(after)


def _revision(connection: Connection) -> str | None:
    made = inspect(connection).has_table(_version.name)
    return connection.scalar(select(_version.c.version_num)) if made else None


def check_current(engine: Engine) -> None:
    """Raises StoreError when the schema is not the one this program was written for, with the remedy.

    Without Alembic, whose 10 MB a collector would hold for nothing.
    """
    _check_there(engine)
    with reading(engine) as connection:
        current = _revision(connection)
    *older, newest = revisions()
    if current == newest:
        return
    if current is not None and current not in older:
        raise _too_new(current)
    raise StoreError(
        f"the database's schema is {current or 'empty'}, this version needs {newest}", hint="run: detector db upgrade"
    )


def revisions() -> list[str]:
    """The revisions of the schema, the newest last: the first part of the names of the migrations' files."""
    files = (shipped.folder("migrations") / "versions").glob("[0-9]*.py")
    return sorted(path.name.partition("_")[0] for path in files)


def _too_new(revision: str | None) -> StoreError:
    return StoreError(
        f"the database's schema, {revision}, is not known to this version",
        hint="run the version of detector that made it, or a newer one",
    )


def _check_there(engine: Engine) -> None:
    """SQLite would make a file that is missing, with nothing in it."""
    path = database_file(engine)
    try:
        missing = path is not None and not path.exists()
    except OSError as fault:
        hint = "run as root, or as a member of the group that its folder belongs to"
        raise StoreError(f"{path}: {fault.strerror}", hint=hint) from fault
    if missing:
        raise StoreError(f"there is no database at {path}", hint="run: detector db upgrade")


def database_file(engine: Engine) -> Path | None:
    """The file of an SQLite database; None in memory, or elsewhere."""
    database = engine.url.database
    return Path(database) if engine.dialect.name == "sqlite" and database and database != ":memory:" else None


def _make_folder(engine: Engine) -> None:
    path = database_file(engine)
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        # Created before SQLite does, so that it is never readable by others, whatever the umask.
        path.touch(mode=0o640, exist_ok=True)
    except FileExistsError as fault:
        raise StoreError(f"{path.parent} is not a folder", hint="choose another place under [database] url") from fault
    except OSError as fault:
        raise StoreError(f"{path}: {fault.strerror}", hint="choose another place under [database] url") from fault
