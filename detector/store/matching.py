"""Reads the rows that match out of packed snapshots: of most of these no more than the keys is unpacked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from detector.store import bulk, damage
from detector.store.packed import SNAPSHOTS_AT_ONCE, Names, PackedSnapshot, observations_of
from detector.store.packing import PackingError, unpack_counts, unpack_keys
from detector.store.tables import packed_counts, packed_observations, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Row

    from detector.store.chosen import Chosen
    from detector.store.filters import HistoryFilter

Matching = tuple[PackedSnapshot, list[int]]
"""A snapshot, and the numbers of its rows that match."""


def span_of(connection: Connection, host_id: int, wanted: HistoryFilter) -> tuple[int, int] | None:
    """The first and last snapshot of the host in the wanted period, found by the index on their end."""
    first, last = connection.execute(
        select(func.min(snapshots.c.seq), func.max(snapshots.c.seq)).where(
            snapshots.c.host_id == host_id, *_period(wanted.since, wanted.until)
        )
    ).one()
    return None if first is None else (first, last)


def matching_rows(
    connection: Connection, chosen: Chosen, span: tuple[int, int], *, newest_first: bool = False
) -> Iterator[Matching]:
    """The snapshots of a span that have rows that match, in the order of their numbers.

    What detection says of them is there only where it was asked for; see `with_scores`.
    """
    if chosen.nothing:
        return
    first, last = span
    order = snapshots.c.seq.desc() if newest_first else snapshots.c.seq
    while first <= last:
        conditions = (snapshots.c.seq.between(first, last), *_period(chosen.since, chosen.until))
        page = _page(connection, chosen.host_id, conditions, (order,))
        yield from _matching(connection, chosen, page)
        if len(page) < SNAPSHOTS_AT_ONCE:
            return
        if newest_first:
            last = page[-1].seq - 1
        else:
            first = page[-1].seq + 1


def newest_rows(connection: Connection, chosen: Chosen, last: int, most: int) -> list[Matching]:
    """What matches in the newest snapshots of the period up to the number `last`.

    Args:
        connection: the transaction.
        chosen: what to look for.
        last: snapshots after this one are left out.
        most: how many are looked at.
    """
    conditions = (snapshots.c.seq + 0 <= last, *_period(chosen.since, chosen.until))
    page = _page(connection, chosen.host_id, conditions, (snapshots.c.end.desc(), snapshots.c.seq.desc()), most)
    return list(_matching(connection, chosen, page))


def snapshots_between(
    connection: Connection, chosen: Chosen, after: datetime, until: datetime, last: int
) -> Iterator[PackedSnapshot]:
    """The snapshots that ended in a time and may have rows that match, with what detection says if that is asked for.

    Snapshots after the number `last` are left out.
    """
    seq, end = snapshots.c.seq, snapshots.c.end
    # Which leaves SQLite the index over ends.
    place = (seq + 0 <= last, end <= until)
    onward: list[ColumnElement[bool]] = [end > after]
    while True:
        page = _page(connection, chosen.host_id, (*place, *onward), (end, seq))
        yield from _readable(connection, chosen, page)
        if len(page) < SNAPSHOTS_AT_ONCE:
            return
        # After the clock was set back, two may have ended at the same moment.
        onward = [end >= page[-1].end, or_(end > page[-1].end, seq > page[-1].seq)]


def with_scores(connection: Connection, host_id: int, read: Iterable[PackedSnapshot]) -> Iterator[PackedSnapshot]:
    """The same snapshots, with what detection says of their rows."""
    page: list[PackedSnapshot] = []
    for snapshot in read:
        page.append(snapshot)
        if len(page) == SNAPSHOTS_AT_ONCE:
            yield from _scored(connection, host_id, page)
            page = []
    yield from _scored(connection, host_id, page)


def whole_rows(
    connection: Connection, host_id: int, host: str, found: Iterable[Matching], names: Names | None = None
) -> list[dict[str, Any]]:
    """Rows of packed snapshots as `history.find` gives them."""
    matching = list(found)
    scored = with_scores(connection, host_id, (snapshot for snapshot, _ in matching))
    numbers = [
        _row(host_id, host, snapshot, row) for snapshot, (_, rows) in zip(scored, matching, strict=True) for row in rows
    ]
    return (names or Names(connection, host_id)).rows(numbers)


def _row(host_id: int, host: str, snapshot: PackedSnapshot, row: int) -> dict[str, Any]:
    """A row with the numbers of what it is made of."""
    place = {"host": host, "start": snapshot.start, "end": snapshot.end, "host_id": host_id, "seq": snapshot.seq}
    whole = {"resolution": "snapshot", "snapshots": 1}
    return {**place, **whole, **snapshot.numbers(row), **snapshot.observed(row)}


def _period(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    conditions = []
    if since is not None:
        conditions.append(snapshots.c.end > since)
    if until is not None:
        conditions.append(snapshots.c.end <= until)
    return conditions


def _page(
    connection: Connection,
    host_id: int,
    conditions: Iterable[ColumnElement[bool]],
    order: Sequence[ColumnElement[Any]],
    most: int = SNAPSHOTS_AT_ONCE,
) -> Sequence[Row[Any, Any, Any, Any]]:
    here = packed_counts.c
    # The end is part of all keys: Postgres finds the part by it.
    same = and_(here.host_id == snapshots.c.host_id, here.seq == snapshots.c.seq, here.end == snapshots.c.end)
    return connection.execute(
        select(snapshots.c.seq, snapshots.c.start, snapshots.c.end, here.content)
        .select_from(snapshots.join(packed_counts, same))
        .where(snapshots.c.host_id == host_id, *conditions)
        .order_by(*order)
        .limit(most)
    ).all()


def _matching(connection: Connection, chosen: Chosen, page: Sequence[Row[Any, Any, Any, Any]]) -> Iterator[Matching]:
    for snapshot in _readable(connection, chosen, page):
        if rows := chosen.rows(snapshot):
            yield snapshot, rows


def _readable(
    connection: Connection, chosen: Chosen, page: Sequence[Row[Any, Any, Any, Any]]
) -> Iterator[PackedSnapshot]:
    """Those of a page that have keys that are wanted."""
    read = _unpacked(connection, chosen, page)
    return read if chosen.min_score is None else _scored(connection, chosen.host_id, list(read))


def _unpacked(
    connection: Connection, chosen: Chosen, page: Sequence[Row[Any, Any, Any, Any]]
) -> Iterator[PackedSnapshot]:
    for row in page:
        try:
            if chosen.keys is None or chosen.may_have(unpack_keys(row.content)):
                yield PackedSnapshot(row.seq, row.start, row.end, unpack_counts(row.content), None)
        except PackingError:
            damage.note(connection, chosen.host_id, row.seq)


def _scored(connection: Connection, host_id: int, read: Sequence[PackedSnapshot]) -> Iterator[PackedSnapshot]:
    if not read:
        return
    said = packed_observations.c
    ends = [snapshot.end for snapshot in read]
    contents = {
        (row.seq, row.end): row.content
        for row in connection.execute(
            select(said.seq, said.end, said.content).where(
                said.host_id == host_id,
                bulk.among(connection, said.seq, {snapshot.seq for snapshot in read}),
                said.end.between(min(ends), max(ends)),
            )
        )
    }
    for snapshot in read:
        content = contents.get((snapshot.seq, snapshot.end))
        observed = None if content is None else observations_of(connection, host_id, snapshot.seq, content)
        yield snapshot if observed is None else replace(snapshot, observations=observed)
