"""How far detection has come with each host: a cursor, which also says whose turn a host is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, select, update

from detector.domain import SnapshotRef
from detector.store.tables import detection_cursors, hosts, snapshots

if TYPE_CHECKING:
    from sqlalchemy import Connection


def next_snapshot(connection: Connection, host_id: int) -> SnapshotRef | None:
    """The oldest snapshot of a host that detection has not seen; takes the host's cursor for this transaction.

    None when detection has caught up, or when another worker holds the host.
    """
    asked: list[Any] = [detection_cursors.c.seq]
    if connection.dialect.name == "postgresql":
        # Detection need not wait for the disk: what a crash takes back of it is detected again, and the same. Nothing
        # of it is sent before it is on the disk: whoever takes a notification from the outbox waits for all before.
        asked.append(func.set_config("synchronous_commit", "off", True))
    held = connection.scalar(
        select(*asked).where(detection_cursors.c.host_id == host_id).with_for_update(skip_locked=True)
    )
    if held is None:
        return None
    row = connection.execute(
        select(hosts.c.host, snapshots.c.seq, snapshots.c.start, snapshots.c.end)
        .join(hosts, hosts.c.host_id == snapshots.c.host_id)
        .where(snapshots.c.host_id == host_id, snapshots.c.seq > held)
        .order_by(snapshots.c.seq)
        .limit(1)
    ).first()
    return None if row is None else SnapshotRef(host_id=host_id, **row._mapping)


def hosts_behind(connection: Connection) -> list[int]:
    """The hosts with snapshots that detection has not seen; each must have a cursor."""
    waiting = exists().where(
        snapshots.c.host_id == detection_cursors.c.host_id, snapshots.c.seq > detection_cursors.c.seq
    )
    # In no order: workers that begin at the same one would wait for each other, and the last might never have its turn.
    return list(connection.scalars(select(detection_cursors.c.host_id).where(waiting).order_by(func.random())))


def hosts_without_cursor(connection: Connection) -> list[int]:
    """The hosts that detection has never looked at."""
    return list(
        connection.scalars(select(hosts.c.host_id).where(hosts.c.host_id.not_in(select(detection_cursors.c.host_id))))
    )


def create_cursors(connection: Connection) -> None:
    """Gives every host that has none a cursor at its beginning, so that there is a row to lock."""
    # Here, since a collector has no need of them: 4 MB.
    from sqlalchemy.dialects import postgresql, sqlite

    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    for host_id in hosts_without_cursor(connection):
        # Two workers may come to a new host at the same moment.
        connection.execute(kind.insert(detection_cursors).values(host_id=host_id, seq=0).on_conflict_do_nothing())


def advance_cursor(connection: Connection, snapshot: SnapshotRef) -> None:
    """Says that detection has seen `snapshot`; commits with what it found there."""
    known = snapshots.c
    of_it = (known.host_id == snapshot.host_id, known.seq == snapshot.seq, known.end == snapshot.end)
    its_hash = select(known.chain_hash).where(*of_it).scalar_subquery()
    connection.execute(
        update(detection_cursors)
        .where(detection_cursors.c.host_id == snapshot.host_id)
        .values(seq=snapshot.seq, chain_hash=its_hash)
    )
