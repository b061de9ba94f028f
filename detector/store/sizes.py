"""How much room the database takes, and gives back what is free without holding anybody up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from detector.store.engine import database_file, outside, reading, writing
from detector.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Of pragmas: what auto_vacuum says of a file that gives pages back step by step.
_INCREMENTAL = 2
# Tables of Postgres that are smaller count as they are.
_WORTH_A_LOOK = 64 << 10
# What Postgres keeps beside the columns of a row: its header and where it is.
_ROW_BYTES = 32
_LOOKED_AT_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """In bytes."""

    used: int
    """What is stored, indexes included. Of Postgres tables that rows were deleted from this is estimated."""
    on_disk: int
    """What the file, or the tables, take: what is free in them is used again."""
    log: int = 0
    """SQLite's write-ahead log, beside the file."""
    shrinks: bool = True
    """Whether SQLite's file can give back what is free step by step."""

    @property
    def free(self) -> int:
        """What is free within what is on disk."""
        return self.on_disk - self.used


def measure(engine: Engine) -> Size:
    """How large the database is now.

    Raises:
        StoreError: the database is away.
    """
    if engine.dialect.name == "postgresql":
        with reading(engine) as connection:
            tables = [used for used, _ in table_sizes(connection).values()]
            return Size(used=sum(tables), on_disk=sum(_on_disk(connection).values()))
    path = database_file(engine)
    with reading(engine) as connection:
        pragma = {
            name: int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
            for name in ("page_count", "freelist_count", "page_size", "auto_vacuum")
        }
    log = Path(f"{path}-wal")
    return Size(
        used=(pragma["page_count"] - pragma["freelist_count"]) * pragma["page_size"],
        on_disk=pragma["page_count"] * pragma["page_size"],
        log=log.stat().st_size if path is not None and log.exists() else 0,
        shrinks=pragma["auto_vacuum"] == _INCREMENTAL,
    )


def used(engine: Engine, *, unless_below: int) -> int:
    """What is stored. As long as it takes no more than so much on disk, that is answer enough.

    Raises:
        StoreError: the database is away.
    """
    if engine.dialect.name == "postgresql":
        with reading(engine) as connection:
            on_disk = sum(_on_disk(connection).values())
        if on_disk <= unless_below:
            return on_disk
    return measure(engine).used


def table_sizes(connection: Connection) -> dict[str, tuple[int, int]]:
    """What is stored in each of our tables on Postgres, and the rows that it says it has; parts by their own names.

    Files do not become smaller when rows are deleted: they are used again. What is stored is worked out from the number
    of rows and the length of some.
    """
    rows = connection.execute(
        text(
            "SELECT c.relname AS name, pg_total_relation_size(c.oid) AS total, pg_table_size(c.oid) AS bare,"
            " CASE WHEN s.n_tup_ins > 0 THEN s.n_live_tup ELSE c.reltuples::bigint END AS rows"
            f" FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.relkind = 'r' AND {_OURS}"
        ),
        {"names": list(metadata.tables)},
    ).all()
    return {row.name: (_used(connection, row.name, row.total, row.bare, row.rows), max(row.rows, 0)) for row in rows}


# Our tables and their parts, in the schema that is in use.
_OURS = (
    "c.relnamespace = current_schema()::regnamespace AND (c.relname = ANY(:names) OR EXISTS (SELECT 1"
    " FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid AND p.relname = ANY(:names)))"
)


def _on_disk(connection: Connection) -> dict[str, int]:
    found = connection.execute(
        text(f"SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c WHERE c.relkind = 'r' AND {_OURS}"),
        {"names": list(metadata.tables)},
    )
    return {name: int(size) for name, size in found}


def _used(connection: Connection, name: str, total: int, bare: int, rows: int) -> int:
    # Negative: it was never looked at.
    if total < _WORTH_A_LOOK or rows < 0:
        return total
    # A row as a whole counts what is kept elsewhere since it is long.
    length = connection.scalar(
        text(f"SELECT avg(pg_column_size(t.*)) FROM (SELECT * FROM {name} LIMIT {_LOOKED_AT_ROWS}) t")
    )
    stored = rows * (float(length or 0) + _ROW_BYTES)
    return int(total * min(1.0, stored / bare))


def give_back(engine: Engine, pages: int) -> int:
    """Makes an SQLite file smaller by up to so many free pages; returns by how many it was.

    Raises:
        StoreError: the database is away.
    """
    with writing(engine) as connection:
        before = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)
        if not before:
            return 0
        raw = connection.connection.driver_connection
        assert raw is not None  # noqa: S101  it is open
        # A step each, with a row without columns, which SQLAlchemy takes for no rows.
        raw.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        after = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)
    return before - after


def shorten_log(engine: Engine) -> None:
    """Cuts SQLite's log off if nobody uses it at this moment: a reader who took long has let it grow.

    Raises:
        StoreError: the database is away.
    """
    with outside(engine) as connection:
        # Waits for nobody, and lets nobody wait.
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def vacuum_deleted(engine: Engine) -> list[str]:
    """Lets Postgres use again what was deleted, while others read and write; returns of which tables.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        names = list(
            connection.scalars(
                text(
                    "SELECT c.relname FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid"
                    f" WHERE s.n_dead_tup > 1000 + s.n_live_tup / 50 AND c.relkind = 'r' AND {_OURS}"
                ),
                {"names": list(metadata.tables)},
            )
        )
    with outside(engine) as connection:
        for name in names:
            connection.execute(text(f"VACUUM (ANALYZE) {name}"))
    return names
