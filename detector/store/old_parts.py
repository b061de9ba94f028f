"""Which parts of tables can be dropped, and the dropping of them: see `partitions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from detector.errors import StoreError
from detector.store import expiry
from detector.store.engine import reading, writing
from detector.store.partitions import OF_SNAPSHOTS, hurry, named, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from detector.store.expiry import HostState
    from detector.store.partitions import Part


def begin_of_part(table: str, moment: datetime) -> datetime:
    """When the part begins that a moment falls into."""
    return named(table).part(moment).start


def begin_of_day(moment: datetime) -> datetime:
    """The same of a day of snapshots."""
    return begin_of_part("snapshots", moment)


def ended(connection: Connection, table: str, before: datetime) -> list[Part]:
    """The parts with nothing but what was before a moment, the oldest first."""
    return [part for part in parts_of(connection, table) if part.end <= before]


def days_done_with(
    connection: Connection,
    before: datetime,
    upto: Callable[[HostState], int],
    *,
    kept_since: datetime | None = None,
) -> list[Part]:
    """The days of snapshots before a moment of which every host is done with all, the oldest first.

    Args:
        connection: the transaction.
        before: they ended by then.
        upto: the last snapshot of a host that may go. The newest one stays anyway.
        kept_since: of hosts into which logs were imported since, nothing may go.
    """
    states = {state.host_id: state for state in expiry.host_states(connection)}

    def may_go(host_id: int, last: int) -> bool:
        state = states.get(host_id)
        if state is None:
            return True
        if kept_since is not None and expiry.kept_as_imported(connection, host_id, kept_since):
            return False
        # Of a host's newest snapshot at least the row stays.
        return last <= upto(state) or (last == state.newest and state.newest - 1 <= upto(state) and _seen(state))

    def _seen(state: HostState) -> bool:
        return min(state.seen, state.rolled) >= state.newest

    return [
        day
        for day in ended(connection, "snapshots", before)
        if all(may_go(host_id, last) for host_id, last in _last_of(connection, day))
    ]


def _last_of(connection: Connection, day: Part) -> list[tuple[int, int]]:
    rows = connection.execute(text(f"SELECT host_id, max(seq) FROM {day.name} GROUP BY host_id"))
    return [(host_id, last) for host_id, last in rows]


def drop_day(engine: Engine, day: Part) -> str:
    """Drops the parts of a day of snapshots, with all that is in them; returns why that has to wait, if it has.

    Of each host the newest snapshot stays: the numbers of those that follow, and the time since it, are counted from
    there.

    Raises:
        StoreError: the database is away.
    """
    try:
        with writing(engine) as connection:
            hurry(connection)
            for table in OF_SNAPSHOTS:
                part = f"{table}_{day.start:%Y%m%d}"
                if part not in {each.name for each in parts_of(connection, table)}:
                    continue
                connection.execute(text(f"ALTER TABLE {table} DETACH PARTITION {part}"))
                if table == "snapshots":
                    for host_id, last in _last_of(connection, day):
                        expiry.expired(connection, host_id, last)
                    # Into the rest, now that they have no part.
                    connection.execute(
                        text(
                            f"INSERT INTO snapshots SELECT * FROM {part} p WHERE NOT EXISTS"
                            f" (SELECT 1 FROM {part} q WHERE q.host_id = p.host_id AND q.seq > p.seq) AND NOT EXISTS"
                            " (SELECT 1 FROM snapshots s WHERE s.host_id = p.host_id AND s.seq > p.seq)"
                        )
                    )
                connection.execute(text(f"DROP TABLE {part}"))
    except StoreError as fault:
        return _unless_away(engine, fault)
    return ""


def drop(engine: Engine, table: str, part: Part) -> str:
    """Drops a part of a roll-up; returns why that has to wait, if it has.

    Raises:
        StoreError: the database is away.
    """
    try:
        with writing(engine) as connection:
            hurry(connection)
            connection.execute(text(f"ALTER TABLE {table} DETACH PARTITION {part.name}"))
            connection.execute(text(f"DROP TABLE {part.name}"))
    except StoreError as fault:
        return _unless_away(engine, fault)
    return ""


def create(engine: Engine, table: str, part: Part) -> str:
    """Adds a part; returns why that has to wait, if it has: others use the table, or it has rows for it already.

    Raises:
        StoreError: the database is away.
    """
    bounds = f"FROM ('{part.start.isoformat()}') TO ('{part.end.isoformat()}')"
    try:
        with writing(engine) as connection:
            hurry(connection)
            connection.execute(text(f"CREATE TABLE {part.name} PARTITION OF {table} FOR VALUES {bounds}"))
    except StoreError as fault:
        return _unless_away(engine, fault)
    return ""


def _unless_away(engine: Engine, fault: StoreError) -> str:
    """What stands in the way now; if it is that the database is away, that is the caller's matter."""
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    return fault.message
