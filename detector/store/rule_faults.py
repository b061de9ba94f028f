"""That rule files are refused: told with a snapshot of one host, so that a rule can make an alert of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select, update

from detector.domain import SnapshotRef
from detector.store.tables import detection_cursors, hosts, rule_faults, snapshots

if TYPE_CHECKING:
    from datetime import datetime

_FAULTS = rule_faults.c


def teller(connection: Connection, host: str) -> int | None:
    """The number of the host that it is told of: `host`, else the first that is detected; None: there is none yet."""
    cursor = detection_cursors.c
    rows = connection.execute(
        select(hosts.c.host_id, hosts.c.host)
        .join(detection_cursors, cursor.host_id == hosts.c.host_id)
        .where(cursor.seq > 0)
        .order_by(hosts.c.host_id)
    ).all()
    own = [row.host_id for row in rows if row.host == host]
    return own[0] if own else rows[0].host_id if rows else None


def open_fault(connection: Connection, host_id: int) -> tuple[int, str] | None:
    """How many files are refused, and the first fault, as it was told last and lasts; None: nothing is."""
    row = connection.execute(
        select(_FAULTS.files, _FAULTS.fault)
        .where(_FAULTS.host_id == host_id, _FAULTS.ended_at.is_(None))
        .order_by(_FAULTS.seq.desc())
        .limit(1)
    ).first()
    return None if row is None else (row.files, row.fault)


def end(connection: Connection, host_id: int, now: datetime) -> None:
    """Says that what was told of a host lasts no more."""
    connection.execute(
        update(rule_faults).where(_FAULTS.host_id == host_id, _FAULTS.ended_at.is_(None)).values(ended_at=now)
    )


def take(connection: Connection, host_id: int) -> SnapshotRef | None:
    """A host's last snapshot that detection has seen, with its cursor held for this transaction; None if another worker
    holds it, or if something was told of that snapshot already.
    """
    cursor, columns = detection_cursors.c, snapshots.c
    seq = connection.scalar(select(cursor.seq).where(cursor.host_id == host_id).with_for_update(skip_locked=True))
    row = connection.execute(
        select(hosts.c.host, columns.seq, columns.start, columns.end)
        .join(hosts, hosts.c.host_id == columns.host_id)
        .where(columns.host_id == host_id, columns.seq == seq)
    ).first()
    told = select(_FAULTS.seq).where(_FAULTS.host_id == host_id, _FAULTS.seq == seq)
    if row is None or connection.scalar(told) is not None:
        return None
    return SnapshotRef(host_id=host_id, host=row.host, seq=row.seq, start=row.start, end=row.end)


def note(connection: Connection, snapshot: SnapshotRef, files: int, fault: str, now: datetime) -> None:
    """Says with a snapshot how many files are refused, and the first fault."""
    connection.execute(
        rule_faults.insert().values(
            host_id=snapshot.host_id, seq=snapshot.seq, noticed_at=now, files=files, fault=fault
        )
    )


def forget(connection: Connection, *, before: datetime) -> None:
    """Deletes what was noticed before a moment, and lasts no more."""
    connection.execute(rule_faults.delete().where(_FAULTS.noticed_at < before, _FAULTS.ended_at.is_not(None)))
