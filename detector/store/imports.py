"""Which logs were imported, and how far: advanced in the transaction that stores the snapshots.

Exact at any moment: what is stored of a log, and that it is, is committed at once or not at all. A log gives its
snapshots in the order of time, the same at each reading, so that the end of the last one says which of them are stored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, select, update

from detector.errors import StoreError
from detector.store.columns import storable
from detector.store.tables import hosts, imports, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from detector.domain import SnapshotRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A log that is imported."""

    digest: bytes
    format: str
    name: str
    options: str
    """How it is read, as it stands on the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """How far a source was imported into a host."""

    host: str
    options: str
    finished_at: datetime | None
    snapshots: int
    rows: int
    last_seq: int
    stored_from: datetime
    stored_until: datetime


_IMPORTED = tuple(field.name for field in fields(Imported) if field.name != "host")


def imported(connection: Connection, digest: bytes, host: str | None = None) -> list[Imported]:
    """What was imported of a source, by host; only into `host`, if it is named."""
    statement = (
        select(hosts.c.host, *(imports.c[name] for name in _IMPORTED))
        .join(hosts, hosts.c.host_id == imports.c.host_id)
        .where(imports.c.source == digest)
        .order_by(hosts.c.host)
    )
    if host is not None:
        statement = statement.where(hosts.c.host == storable(host))
    return [Imported(**row) for row in connection.execute(statement).mappings()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a host stands that is imported into."""

    until: datetime | None = None
    """The end of its newest snapshot; None: it has none."""
    seq: int = 0
    known: bool = False
    """Something was imported into it before."""


def standing(connection: Connection, host: str) -> Standing:
    """Where `host` stands.

    Every import leaves the number of its last snapshot, so that a newer one is a collector's.

    Raises:
        StoreError: a collector stores under this name.
    """
    host_id = connection.scalar(select(hosts.c.host_id).where(hosts.c.host == host))
    if host_id is None:
        return Standing()
    newest = connection.execute(
        select(snapshots.c.seq, snapshots.c.end)
        .where(snapshots.c.host_id == host_id)
        .order_by(snapshots.c.seq.desc())
        .limit(1)
    ).first()
    last = connection.scalar(select(func.max(imports.c.last_seq)).where(imports.c.host_id == host_id))
    if newest is None:
        return Standing(known=last is not None)
    if last is None or newest.seq > last:
        raise StoreError(
            f"{host} is a host that a collector stores snapshots of; what is imported must not mix with them",
            hint="name another host for the log: --host NAME",
        )
    return Standing(until=newest.end, seq=newest.seq, known=True)


def advance(connection: Connection, source: Source, stored: Sequence[SnapshotRef], *, rows: int, now: datetime) -> None:
    """Says that these snapshots of one host are stored as well, in the order of time, from so many of the rows."""
    last = stored[-1]
    of_source = (imports.c.host_id == last.host_id, imports.c.source == source.digest)
    place = {"last_seq": last.seq, "stored_until": last.end}
    known = connection.execute(
        update(imports)
        .where(*of_source)
        .values(snapshots=imports.c.snapshots + len(stored), rows=imports.c.rows + rows, **place)
    ).rowcount
    if not known:
        connection.execute(
            insert(imports).values(
                host_id=last.host_id,
                source=source.digest,
                format=source.format,
                name=storable(source.name),
                options=source.options,
                started_at=now,
                snapshots=len(stored),
                rows=rows,
                stored_from=stored[0].start,
                **place,
            )
        )


def finish(
    connection: Connection, source: Source, into: Iterable[str], *, refused: int, left_out: int, now: datetime
) -> None:
    """Says that all of the source is stored in the hosts `into`."""
    numbers = select(hosts.c.host_id).where(hosts.c.host.in_(list(into)))
    connection.execute(
        update(imports)
        .where(imports.c.source == source.digest, imports.c.host_id.in_(numbers), imports.c.finished_at.is_(None))
        .values(finished_at=now, refused=refused, left_out=left_out)
    )
