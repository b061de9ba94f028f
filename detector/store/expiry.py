"""Deletes snapshots that have expired, the oldest first, a few at a time.

Each call is one short transaction. The newest snapshot of a host always stays: the numbers of those that follow, and
the time since it, are counted from there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, func, select, update

from detector.store.engine import writing
from detector.store.packing import PackingError, unpack_counts
from detector.store.tables import (
    connection_counts,
    detection_cursors,
    hosts,
    imports,
    kept_windows,
    observations,
    packed_counts,
    packed_observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, Row, ScalarSelect

_PACKED = (packed_observations, packed_counts)
_ROWS = (observations, connection_counts)
_LOSSES = tuple(column.name for column in snapshots.c if column.name.startswith("lost_"))
_OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """Up to where a host's snapshots have been put to use: numbers of snapshots."""

    host_id: int
    host: str
    newest: int
    """0: there is none."""
    seen: int
    """By detection."""
    rolled: int
    """Added up by hour and day."""
    recent: int
    """The first one of which rules look at all rows."""
    kept: int
    """The first one of which there may be rows for rules."""

    @property
    def done_with(self) -> int:
        """Up to here nobody needs them: of some, rules count single rows, and then count them no more."""
        return min(self.rolled, self.recent - 1, self.newest - 1)

    @property
    def added_up(self) -> int:
        """Up to here they are added up; rules may look at some of them."""
        return min(self.rolled, self.newest - 1)


@dataclass(frozen=True, slots=True)
class Gone:
    """How many snapshots were deleted, and how many of them detection had not seen."""

    snapshots: int = 0
    unseen: int = 0


def host_states(connection: Connection) -> list[HostState]:
    """All hosts."""
    cursor = detection_cursors.c
    newest = (
        select(snapshots.c.seq)
        .where(snapshots.c.host_id == hosts.c.host_id)
        .order_by(snapshots.c.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(
            hosts.c.host_id,
            hosts.c.host,
            newest.label("newest"),
            cursor.seq,
            cursor.rolled_seq,
            cursor.recent_seq,
            _first_kept(hosts.c.host_id).label("kept"),
        )
        .select_from(hosts.outerjoin(detection_cursors, cursor.host_id == hosts.c.host_id))
        .order_by(hosts.c.host_id)
    )
    return [
        HostState(
            host_id=row.host_id,
            host=row.host,
            newest=row.newest or 0,
            seen=row.seq or 0,
            rolled=row.rolled_seq or 0,
            # Without detection nobody looks.
            recent=row.recent_seq or row.newest or 0,
            kept=_least(row.kept, row.recent_seq or row.newest or 0),
        )
        for row in rows
    ]


def kept_as_imported(connection: Connection, host_id: int, since: datetime) -> bool:
    """Whether logs were imported into a host after `since`: however old what they tell is, it was not there before."""
    of_host = imports.c.host_id == host_id
    late = func.coalesce(imports.c.finished_at, imports.c.started_at) > since
    return bool(connection.scalar(select(exists().where(of_host, late))))


def oldest(connection: Connection, host_id: int) -> Row[int, datetime] | None:
    """The number and the end of a host's oldest snapshot; None when it has none."""
    return connection.execute(
        select(snapshots.c.seq, snapshots.c.end)
        .where(snapshots.c.host_id == host_id)
        .order_by(snapshots.c.seq)
        .limit(1)
    ).first()


def waits(connection: Connection, host_id: int, *, before: datetime | None, upto: int) -> int:
    """How many snapshots `expire` would delete with these arguments, with its limit far away."""
    return connection.scalar(select(func.count()).select_from(snapshots).where(*_chosen(host_id, before, upto))) or 0


def expire(engine: Engine, state: HostState, *, before: datetime | None, upto: int, limit: int) -> Gone:
    """Deletes up to `limit` of a host's oldest snapshots.

    What detection has not seen is counted as lost: by the next snapshot, which rules see, and by the host.

    Args:
        engine: the database.
        state: the host's.
        before: those that ended before this; None: at any time.
        upto: the last one that may go. The newest one of all stays.
        limit: how many.

    Raises:
        StoreError: the database is away.
    """
    upto = min(upto, state.newest - 1)
    with writing(engine) as connection:
        seen = state.seen
        if upto > seen:
            # Held, so that they are not looked at while they go.
            held = select(detection_cursors.c.seq).where(detection_cursors.c.host_id == state.host_id)
            seen = connection.scalar(held.with_for_update()) or 0
        some = connection.execute(
            select(snapshots.c.seq, snapshots.c.end)
            .where(*_chosen(state.host_id, before, upto))
            .order_by(snapshots.c.seq)
            .limit(limit)
        ).all()
        if not some:
            return Gone()
        unseen = [row.seq for row in some if row.seq > seen]
        if unseen:
            _tell_next(connection, state.host_id, unseen)
        _move_cursors(connection, state.host_id, some[-1].seq)
        expired(connection, state.host_id, some[-1].seq)
        seqs = [row.seq for row in some]
        # Postgres finds the parts by the end.
        ends = min(row.end for row in some), max(row.end for row in some)
        for table in (*_PACKED, snapshots):
            connection.execute(
                delete(table).where(table.c.host_id == state.host_id, table.c.seq.in_(seqs), table.c.end.between(*ends))
            )
        if seqs[-1] >= state.kept:
            for table in _ROWS:
                connection.execute(delete(table).where(table.c.host_id == state.host_id, table.c.seq.in_(seqs)))
    return Gone(len(some), len(unseen))


def _chosen(host_id: int, before: datetime | None, upto: int) -> list[ColumnElement[bool]]:
    ended = [] if before is None else [snapshots.c.end < before]
    return [snapshots.c.host_id == host_id, snapshots.c.seq <= upto, *ended]


def expired(connection: Connection, host_id: int, seq: int) -> None:
    """Says that a host's snapshots up to `seq` may be gone."""
    of_host = hosts.c.host_id == host_id
    connection.execute(update(hosts).where(of_host, hosts.c.expired_seq < seq).values(expired_seq=seq))


def _move_cursors(connection: Connection, host_id: int, seq: int) -> None:
    """What is gone can be neither looked at nor added up any more."""
    cursor = detection_cursors.c
    behind = update(detection_cursors).where(cursor.host_id == host_id, cursor.seq < seq)
    connection.execute(behind.values(seq=seq, chain_hash=None))
    for column, value in (
        (cursor.rolled_seq, seq),
        (cursor.recent_seq, seq + 1),
        (kept_windows.c.first_seq, seq + 1),
    ):
        table = column.table
        connection.execute(update(table).where(table.c.host_id == host_id, column < value).values({column: value}))


def _tell_next(connection: Connection, host_id: int, unseen: Sequence[int]) -> None:
    """Adds what nobody has seen to the losses of the snapshot that comes next, as a collector does that gives up."""
    of_them = (snapshots.c.host_id == host_id, snapshots.c.seq.in_(unseen))
    losses: Counter[str] = Counter()
    for row in connection.execute(select(*(snapshots.c[name] for name in _LOSSES)).where(*of_them)).mappings():
        losses.update({str(name): number for name, number in row.items()})
    losses["lost_snapshots"] += len(unseen)
    packed = select(packed_counts.c.content).where(packed_counts.c.host_id == host_id, packed_counts.c.seq.in_(unseen))
    for content in connection.scalars(packed):
        try:
            counts = unpack_counts(content)
        except PackingError:
            continue
        losses.update({f"lost_{name}": sum(counts[name]) for name in _OUTCOMES})
    heir = connection.scalar(
        select(snapshots.c.seq)
        .where(snapshots.c.host_id == host_id, snapshots.c.seq > unseen[-1])
        .order_by(snapshots.c.seq)
        .limit(1)
    )
    connection.execute(
        update(snapshots)
        .where(snapshots.c.host_id == host_id, snapshots.c.seq == heir)
        .values({name: snapshots.c[name] + number for name, number in losses.items() if number})
    )
    connection.execute(update(hosts).where(hosts.c.host_id == host_id).values(given_up=hosts.c.given_up + len(unseen)))


def _first_kept(host_id: ColumnElement[int] | int) -> ScalarSelect[int | None]:
    first = func.min(kept_windows.c.first_seq)
    return select(first).where(kept_windows.c.host_id == host_id).scalar_subquery()


def _least(kept: int | None, recent: int) -> int:
    return recent if kept is None else min(kept, recent)


def forget_rows(engine: Engine, host_id: int, *, limit: int) -> int:
    """Deletes rows that rules look at no more, of a host that has fallen silent; returns how many.

    Raises:
        StoreError: the database is away.
    """
    with writing(engine) as connection:
        recent = connection.scalar(select(detection_cursors.c.recent_seq).where(detection_cursors.c.host_id == host_id))
        before = _least(connection.scalar(select(_first_kept(host_id))), recent or 0)
        gone = 0
        for table in _ROWS:
            seqs = list(
                connection.scalars(
                    select(table.c.seq).where(table.c.host_id == host_id, table.c.seq < before).limit(limit)
                )
            )
            if seqs:
                connection.execute(delete(table).where(table.c.host_id == host_id, table.c.seq.in_(set(seqs))))
            gone += len(seqs)
    return gone
