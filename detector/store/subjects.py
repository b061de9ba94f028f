"""Forgets what the models know of destinations: of those that were not met for very long, and when there is no room
for it any more, of those that were met once.
"""

from __future__ import annotations

import struct
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select, update

from detector.store import bulk
from detector.store.engine import reading, writing
from detector.store.tables import detection_cursors, model_blocks, model_hosts, model_subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

# Of a single destination, of which a scan has millions. The others are few.
_OF_ONE_DESTINATION = (
    *("pair", "destination", "network", "user_network"),
    *("user_destination", "executable_network", "executable_destination"),
)
_HEAD = struct.Struct("<16sdqq")
_HOUR_SECONDS = 3600
_MARK_BYTES = 16
# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_LOOKUP_BATCH = 1000


class _Head(NamedTuple):
    """What each place of a block begins with."""

    subject: bytes
    """Its digest."""
    first_seconds: float
    """When it was first met."""
    hours: int
    """In how many observed hours it was active."""
    last_hour: int
    """The last of them."""


def observed(engine: Engine, host_id: int) -> timedelta:
    """For how long the models have watched a host.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        seconds = connection.scalar(select(model_hosts.c.observed_seconds).where(model_hosts.c.host_id == host_id))
    return timedelta(seconds=seconds or 0.0)


def forget_met_once(
    engine: Engine, host_id: int, *, older: timedelta, after: int, limit: int
) -> tuple[int, int | None]:
    """Deletes, of up to so many blocks of a host that come after one, the subjects that were met in one observed hour
    alone.

    Should they be met again, they are new.

    Args:
        engine: the database.
        host_id: whose.
        older: since they were first met, in observed time.
        after: the last block that was looked at; -1: none was.
        limit: how many are looked at.

    Returns:
        How many subjects were deleted, and the last block that was looked at; None: that was all.

    Raises:
        StoreError: the database is away.
    """

    def is_gone(head: _Head, until: float) -> bool:
        return head.hours <= 1 and head.first_seconds < until

    return _forget(engine, host_id, is_gone, older=older, after=after, limit=limit)


def forget_not_met(engine: Engine, host_id: int, *, older: timedelta, after: int, limit: int) -> tuple[int, int | None]:
    """The same of those that were last met longer ago than `older`, however often before."""

    def is_gone(head: _Head, until: float) -> bool:
        return max(head.first_seconds, (head.last_hour + 1) * _HOUR_SECONDS) < until

    return _forget(engine, host_id, is_gone, older=older, after=after, limit=limit)


def _forget(
    engine: Engine,
    host_id: int,
    is_gone: Callable[[_Head, float], bool],
    *,
    older: timedelta,
    after: int,
    limit: int,
) -> tuple[int, int | None]:
    """Deletes of some blocks what is gone, by its head and the observed time that `older` goes back to."""
    hosts, stored = model_hosts.c, model_blocks.c
    with writing(engine) as connection:
        # Held, so that detection changes nothing meanwhile of what is read here.
        connection.execute(
            select(detection_cursors.c.seq).where(detection_cursors.c.host_id == host_id).with_for_update()
        )
        host = connection.execute(select(hosts.observed_seconds, hosts.mark).where(hosts.host_id == host_id)).first()
        rows = connection.execute(
            select(stored.block, stored.kind, stored.places, stored.content)
            .where(stored.host_id == host_id, stored.block > after)
            .order_by(stored.block)
            .limit(limit)
        ).all()
        if not rows or host is None:
            return 0, None
        until = host.observed_seconds - older.total_seconds()
        gone: list[bytes] = []
        left: list[tuple[int, int, str, int, bytes]] = []
        for block, kind, places, content in rows:
            if kind in _OF_ONE_DESTINATION:
                some, without = _without(bytes(content), places, lambda head: is_gone(head, until))
                gone += some
                if some:
                    left.append((host_id, block, kind, places, without))
        if gone:
            _delete(connection, host_id, gone, left)
            # Who remembers them must not take them for known.
            mark = blake2b(b"".join([host.mark or b"", *gone]), digest_size=_MARK_BYTES).digest()
            connection.execute(update(model_hosts).where(hosts.host_id == host_id).values(mark=mark))
    return len(gone), int(rows[-1].block)


def _without(content: bytes, places: int, is_gone: Callable[[_Head], bool]) -> tuple[list[bytes], bytes]:
    """The subjects of a block that are gone, and the block without them."""
    size = len(content) // places
    gone, left = [], bytearray(content)
    for at in range(0, len(content), size):
        head = _Head(*_HEAD.unpack_from(content, at))
        if any(head.subject) and is_gone(head):
            gone.append(head.subject)
            left[at : at + size] = bytes(size)
    return gone, bytes(left)


def _delete(
    connection: Connection, host_id: int, gone: list[bytes], left: list[tuple[int, int, str, int, bytes]]
) -> None:
    of_host = model_subjects.c.host_id == host_id
    for start in range(0, len(gone), _LOOKUP_BATCH):
        some = bulk.among(connection, model_subjects.c.subject, gone[start : start + _LOOKUP_BATCH])
        connection.execute(delete(model_subjects).where(of_host, some))
    emptied = [block for _, block, *_, content in left if not any(content)]
    connection.execute(
        delete(model_blocks).where(
            model_blocks.c.host_id == host_id, bulk.among(connection, model_blocks.c.block, emptied)
        )
    )
    names = ("host_id", "block", "kind", "places", "content")
    bulk.upsert(connection, model_blocks, names, [row for row in left if any(row[-1])])
