"""Remembers where stored snapshots were found not to be those that were written, so that each is told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, exists, func, insert, select, update

from detector.store.chain import Break, BreakKind
from detector.store.tables import chain_breaks, detection_cursors, snapshots, tamperings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from detector.domain import SnapshotRef

_BREAKS = chain_breaks.c
# Of a host; somebody who deletes every other snapshot makes no more rows than that.
_MOST = 100


def remember(connection: Connection, breaks: Sequence[Break], now: datetime) -> int:
    """Notes those of one host's `breaks` that are not known, to be told; returns how many."""
    if not breaks:
        return 0
    host_id = breaks[0].host_id
    rows = connection.execute(select(_BREAKS.first_seq, _BREAKS.kind).where(_BREAKS.host_id == host_id))
    known = {(row.first_seq, BreakKind(row.kind)) for row in rows}
    new = [each for each in breaks if (each.first_seq, each.kind) not in known][: max(0, _MOST - len(known))]
    if new:
        connection.execute(
            insert(chain_breaks),
            [
                {
                    "host_id": host_id,
                    "first_seq": each.first_seq,
                    "last_seq": each.last_seq,
                    "kind": each.kind,
                    "noticed_at": now,
                    "told": False,
                }
                for each in new
            ],
        )
    return len(new)


def step_back(connection: Connection, host_id: int) -> None:
    """Has detection go on after the newest snapshot of a host, where those that it has seen are gone."""
    cursor = detection_cursors.c
    newest = func.coalesce(select(func.max(snapshots.c.seq)).where(snapshots.c.host_id == host_id).scalar_subquery(), 0)
    connection.execute(
        update(detection_cursors)
        .where(cursor.host_id == host_id, cursor.seq > newest)
        .values(seq=newest, chain_hash=None)
    )


def waiting(connection: Connection) -> list[int]:
    """The hosts of which something is to be told."""
    return list(connection.scalars(select(_BREAKS.host_id).where(_BREAKS.told.is_(False)).distinct()))


def tell(connection: Connection, snapshot: SnapshotRef, now: datetime) -> bool:
    """Shows with a snapshot what is to be told of its host; False if there is nothing, or something was told with it
    before.
    """
    known = tamperings.c
    of_it = exists().where(known.host_id == snapshot.host_id, known.seq == snapshot.seq)
    untold = (_BREAKS.host_id == snapshot.host_id, _BREAKS.told.is_(False))
    rows = connection.execute(
        select(_BREAKS.kind, _BREAKS.first_seq, _BREAKS.last_seq).where(*untold).order_by(_BREAKS.first_seq)
    ).all()
    if not rows or connection.scalar(select(of_it)):
        return False
    kind, first, last = rows[0]
    connection.execute(
        insert(tamperings).values(
            host_id=snapshot.host_id,
            seq=snapshot.seq,
            noticed_at=now,
            breaks=len(rows),
            first_break=said(BreakKind(kind), first, last),
        )
    )
    connection.execute(update(chain_breaks).where(*untold).values(told=True))
    return True


def said(kind: BreakKind, first: int, last: int) -> str:
    """What is wrong, in a few words."""
    if first == last:
        return f"snapshot {first:,} is {'missing' if kind is BreakKind.MISSING else 'not the one that was written'}"
    wrong = "missing" if kind is BreakKind.MISSING else "not those that were written"
    return f"snapshots {first:,} to {last:,} are {wrong}"


def forget(connection: Connection, *, before: datetime) -> None:
    """Deletes what was noticed before a moment."""
    connection.execute(tamperings.delete().where(tamperings.c.noticed_at < before))
    connection.execute(chain_breaks.delete().where(_BREAKS.noticed_at < before, _BREAKS.told))
