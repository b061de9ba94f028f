"""Hosts of which nothing comes, and what waits for time to pass."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import AlertState, SnapshotRef
from detector.store.tables import alerts, detection_cursors, hosts, silences, snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

LONG_SECONDS = 900.0
"""Who stops a service to change something on the machine, or begins anew, is through by then."""
# The usual length of a host's snapshots is that of the middle one of so many.
_LENGTHS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """A host's last snapshot."""

    ref: SnapshotRef
    captured: bool
    """A collector has sent it: not an import, after which nothing is to be expected."""
    usual_seconds: float
    """How long its snapshots are."""
    awaited: bool
    """Another one should follow: its collector has not ended in order."""


def seen(connection: Connection) -> Mapping[int, int]:
    """Each host's last snapshot that detection has seen, by the host's number."""
    cursor = detection_cursors.c
    return {row.host_id: row.seq for row in connection.execute(select(cursor.host_id, cursor.seq))}


def newest(connection: Connection, host_id: int) -> Newest | None:
    """What came last of a host; None: nothing ever did."""
    columns = snapshots.c
    rows = connection.execute(
        select(hosts.c.host, columns.seq, columns.start, columns.end, columns.mark, columns.stopped)
        .join(hosts, hosts.c.host_id == columns.host_id)
        .where(columns.host_id == host_id)
        .order_by(columns.seq.desc())
        .limit(_LENGTHS)
    ).all()
    if not rows:
        return None
    last = rows[0]
    return Newest(
        ref=SnapshotRef(host_id=host_id, host=last.host, seq=last.seq, start=last.start, end=last.end),
        captured=last.mark is not None,
        usual_seconds=median((row.end - row.start).total_seconds() for row in rows),
        awaited=last.mark is not None and not last.stopped,
    )


def take(connection: Connection, host_id: int) -> Newest | None:
    """What came last of a host, with its cursor held for this transaction; None if detection has not seen all of it, or
    another worker holds it.
    """
    cursor = detection_cursors.c
    held = connection.scalar(select(cursor.seq).where(cursor.host_id == host_id).with_for_update(skip_locked=True))
    last = newest(connection, host_id) if held is not None else None
    return last if last is not None and last.ref.seq == held else None


def note(connection: Connection, snapshot: SnapshotRef, silent_seconds: float, now: datetime) -> bool:
    """Says that nothing came after `snapshot`, whose host's cursor is held; False if it was said before.

    It is said again when it has become long (`LONG_SECONDS`).
    """
    known = silences.c
    of_it = (known.host_id == snapshot.host_id, known.seq == snapshot.seq)
    before = connection.scalar(select(known.silent_seconds).where(*of_it))
    said = {"noticed_at": now, "silent_seconds": silent_seconds}
    if before is None:
        connection.execute(silences.insert().values(host_id=snapshot.host_id, seq=snapshot.seq, **said))
    elif before < LONG_SECONDS <= silent_seconds:
        connection.execute(silences.update().where(*of_it).values(**said))
    else:
        return False
    return True


def unsettled(connection: Connection) -> Mapping[int, bool]:
    """The hosts with alerts that are not resolved; True where some wait to be told."""
    waiting, going_on = AlertState.WAITING.value, AlertState.OPEN.value
    rows = connection.execute(
        select(alerts.c.host_id, func.max(alerts.c.state))
        .where(alerts.c.state.in_([waiting, going_on]))
        .group_by(alerts.c.host_id)
    )
    # By the alphabet the one that waits is the last.
    return {host_id: state == waiting for host_id, state in rows}


def forget(connection: Connection, *, before: datetime) -> None:
    """Deletes what was noticed before a moment."""
    connection.execute(silences.delete().where(silences.c.noticed_at < before))
