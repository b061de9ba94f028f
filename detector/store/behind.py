"""What is behind an alert, as counts: each of its keys, and the newest row of some of them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import ConnectionCount, SnapshotRef, StoredCount
from detector.store.packed import Names, read_packed
from detector.store.snapshots import count_from, key_from
from detector.store.tables import connection_keys, evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from detector.domain import Alert

_KEYS_AT_ONCE = 1000


def keys_behind(connection: Connection, alert_id: int, host_id: int) -> Iterator[list[StoredCount]]:
    """The keys behind an alert of a host, page by page, each as a count of nothing."""
    keys, after = connection_keys.c, 0
    numbers = select(evidence.c.key_id).where(evidence.c.alert_id == alert_id)
    while True:
        rows = connection.execute(
            select(connection_keys)
            .where(keys.host_id == host_id, keys.key_id > after, keys.key_id.in_(numbers))
            .order_by(keys.key_id)
            .limit(_KEYS_AT_ONCE)
        ).mappings()
        page = [
            StoredCount(
                key_id=row["key_id"], first_seen=row["first_seen"], count=ConnectionCount(key=key_from(dict(row)))
            )
            for row in rows
        ]
        if not page:
            return
        yield page
        after = page[-1].key_id


def newest_rows(
    connection: Connection, alert: Alert, host_id: int, most: int
) -> Iterator[tuple[SnapshotRef, list[StoredCount]]]:
    """The newest row of each of the `most` keys of an alert that were met last, snapshot by snapshot; less those of
    snapshots that have expired.
    """
    columns = evidence.c
    newest = func.max(columns.seq)
    statement = (
        select(columns.key_id, newest)
        .where(columns.alert_id == alert.alert_id, columns.key_id > 0)
        .group_by(columns.key_id)
        .order_by(newest.desc(), columns.key_id)
        .limit(most)
    )
    places = sorted((seq, key_id) for key_id, seq in connection.execute(statement))
    for seq, of_snapshot in groupby(places, key=lambda place: place[0]):
        wanted = {key_id for _, key_id in of_snapshot}
        for packed in read_packed(connection, host_id, (seq, seq), scores=False):
            rows = [row for row, key_id in enumerate(packed.counts["key_id"]) if key_id in wanted]
            named = Names(connection, host_id).rows(packed.numbers(row) for row in rows)
            counts = [
                StoredCount(key_id=row["key_id"], first_seen=row["first_seen"], count=count_from(row)) for row in named
            ]
            if counts:
                yield (
                    SnapshotRef(host_id=host_id, host=alert.host, seq=seq, start=packed.start, end=packed.end),
                    counts,
                )
