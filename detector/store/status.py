"""How the database stands: how large it is, what is in it, and how fast it grows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.store import expiry, partitions
from detector.store.tables import (
    connection_keys,
    hosts,
    metadata,
    packed_counts,
    packed_observations,
    replacements,
    snapshots,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

_DAY = timedelta(days=1)
# Of a key, with its indexes.
_KEY_BYTES = 350


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """A host's snapshots."""

    host: str
    snapshots: int
    oldest: datetime | None
    newest: datetime | None
    """When they ended."""
    not_seen: int
    """By detection."""
    not_added_up: int
    given_up: int
    """Deleted for the size of the database before detection had seen them."""
    bytes_per_day: int
    """By which the host makes the database larger, as on its last day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatus:
    """A table."""

    table: str
    rows: int
    parts: int | None
    """None: it is in one piece."""
    last_part: datetime | None
    """When the last part ends."""


def host_status(connection: Connection) -> list[HostStatus]:
    """All hosts."""
    lost = given_up(connection)
    found = []
    for state in expiry.host_states(connection):
        of_host = snapshots.c.host_id == state.host_id
        number, oldest, newest = connection.execute(
            select(func.count(), func.min(snapshots.c.end), func.max(snapshots.c.end)).where(of_host)
        ).one()
        found.append(
            HostStatus(
                host=state.host,
                snapshots=number,
                oldest=oldest,
                newest=newest,
                not_seen=max(state.newest - state.seen, 0),
                not_added_up=max(state.newest - state.rolled, 0),
                given_up=lost.get(state.host, 0),
                bytes_per_day=_growth(connection, state.host_id, oldest, newest),
            )
        )
    return found


def given_up(connection: Connection) -> dict[str, int]:
    """How many snapshots of each host went before detection had seen them; hosts with none are missing."""
    rows = connection.execute(select(hosts.c.host, hosts.c.given_up).where(hosts.c.given_up > 0)).all()
    return {row.host: row.given_up for row in rows}


def set_aside(connection: Connection) -> list[tuple[datetime, str]]:
    """When this database took the place of a damaged one, and where that is; the last one first."""
    columns = replacements.c
    rows = connection.execute(select(columns.replaced_at, columns.set_aside).order_by(columns.replaced_at.desc())).all()
    return [(row.replaced_at, row.set_aside) for row in rows]


def _growth(connection: Connection, host_id: int, oldest: datetime | None, newest: datetime | None) -> int:
    if oldest is None or newest is None:
        return 0
    since = newest - _DAY
    total = 0
    for table in (packed_counts, packed_observations):
        total += int(
            connection.scalar(
                select(func.sum(func.length(table.c.content)))
                .select_from(
                    snapshots.join(
                        table,
                        (table.c.host_id == snapshots.c.host_id)
                        & (table.c.seq == snapshots.c.seq)
                        & (table.c.end == snapshots.c.end),
                    )
                )
                .where(snapshots.c.host_id == host_id, snapshots.c.end > since)
            )
            or 0
        )
    keys = connection_keys.c
    new = connection.scalar(
        select(func.count()).select_from(connection_keys).where(keys.host_id == host_id, keys.first_seen > since)
    )
    total += _KEY_BYTES * (new or 0)
    watched = max((newest - max(oldest, since)).total_seconds(), 1.0)
    return int(total * min(_DAY.total_seconds() / watched, 24.0))


def table_status(connection: Connection) -> list[TableStatus]:
    """All tables, those with most rows first."""
    parted = {each.name for each in partitions.PARTED} if connection.dialect.name == "postgresql" else set()
    found = []
    for name, table in metadata.tables.items():
        parts = partitions.parts_of(connection, name) if name in parted else None
        found.append(
            TableStatus(
                table=name,
                rows=connection.scalar(select(func.count()).select_from(table)) or 0,
                parts=None if parts is None else len(parts),
                last_part=parts[-1].end if parts else None,
            )
        )
    return sorted(found, key=lambda each: (-each.rows, each.table))
