"""From which of its stored snapshots on a host was watched for as long as a rule's burn-in asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import case, func, select

from detector.models import state
from detector.store.moments import microseconds, taken
from detector.store.tables import detection_cursors, snapshots

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Connection

    from detector.store.extent import Extent, Span

_MICROSECONDS = 1_000_000
_LONGEST_US = round(state.LONGEST_SNAPSHOT_SECONDS * _MICROSECONDS)


def watched_from(connection: Connection, host_id: int, burn_in: timedelta, period: Extent) -> int:
    """The first snapshot of a period by which the host was watched for so long; the number after it, if none was.

    Detection knows for how long that was at the snapshot that it has come to; before and after, the lengths of the
    snapshots between tell.

    Args:
        connection: the transaction.
        host_id: whose.
        burn_in: how long is enough.
        period: what is looked at.
    """
    if not burn_in:
        return period.first
    known = state.load_host(connection, host_id).observed_seconds * _MICROSECONDS
    cursor = select(detection_cursors.c.seq).where(detection_cursors.c.host_id == host_id)
    at, before = connection.scalar(cursor) or 0, period.first - 1
    known += _length(connection, host_id, (at + 1, before)) - _length(connection, host_id, (before + 1, at))
    enough = burn_in.total_seconds() * _MICROSECONDS
    if known >= enough:
        return period.first
    seqs, starts, ends = taken(connection, host_id, (period.first, period.last))
    watched = known + np.cumsum(np.clip(ends - starts, 0, _LONGEST_US))
    place = int(np.searchsorted(watched, enough))
    return int(seqs[place]) if place < len(seqs) else period.last + 1


def _length(connection: Connection, host_id: int, span: Span) -> float:
    """What the snapshots of a span come to, in microseconds, each as long as detection takes it for."""
    length = microseconds(snapshots.c.end) - microseconds(snapshots.c.start)
    taken_for = case((length < 0, 0), (length > _LONGEST_US, _LONGEST_US), else_=length)
    of_span = select(func.sum(taken_for)).where(snapshots.c.host_id == host_id, snapshots.c.seq.between(*span))
    return float(connection.scalar(of_span) or 0)
