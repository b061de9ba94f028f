"""The newest snapshots: what `detector top` shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.store.filters import known_hosts
from detector.store.grouping import grouped
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Connection

    from detector.store.filters import HistoryFilter
    from detector.store.grouping import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """A host's newest snapshot."""

    seq: int
    start: datetime
    end: datetime


def newest(connection: Connection, host: str | None) -> dict[str, Newest]:
    """The newest snapshot of each host that matches a pattern."""
    found = {}
    for host_id, name in known_hosts(connection, host).items():
        row = connection.execute(
            select(snapshots.c.seq, snapshots.c.start, snapshots.c.end)
            .where(snapshots.c.host_id == host_id)
            .order_by(snapshots.c.seq.desc())
            .limit(1)
        ).first()
        if row is not None:
            found[name] = Newest(seq=row.seq, start=row.start, end=row.end)
    return found


def lately(
    connection: Connection, wanted: HistoryFilter, hosts: Mapping[str, Newest], over: timedelta, by: Sequence[str]
) -> Sequence[Group]:
    """What matches in the last snapshots, by the values of fields.

    Args:
        connection: the transaction.
        wanted: what to look for, whenever it was.
        hosts: what `newest` gave.
        over: how far back from the newest snapshot of all; that one is part of it, however long it is.
        by: names of grouping.FIELDS.
    """
    if not hosts:
        return []
    last = max(hosts.values(), key=lambda each: each.end)
    since = min(last.end - over, last.start)
    return grouped(connection, replace(wanted, since=since), by).groups
