"""Finds what of a host's stored past may matter to a rule, by what tells of it without unpacking: keys, and the sums of
hours and days. What is left out cannot match; of what is chosen, each row may.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from sqlalchemy import TIMESTAMP, BigInteger, LargeBinary, and_, exists, func, select, type_coerce

from detector.store.chosen import one_of
from detector.store.columns import Address
from detector.store.crowds import Crowds
from detector.store.packing import PackingError, unpack_keys
from detector.store.rollups import DAY, HOUR, floor
from detector.store.tables import (
    connection_keys,
    daily_counts,
    destination_names,
    detection_cursors,
    hosts,
    hourly_counts,
    login_origins,
    packed_counts,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Select, Table

# So many sums are looked at one by one; with more, all that is between is read.
_MOST_SUMS = 20_000
# So few keys are named to the database, which finds their sums by them.
_FEW_KEYS = 2_000
# So few snapshots are not looked at twice.
_FEW_SNAPSHOTS = 2_000

Span = tuple[int, int]
"""The first and the last number of snapshots that follow each other."""
Time = tuple[datetime, datetime]
"""After, and until."""
Keys = dict[int, tuple[Any, ...]]
"""By number what each is grouped by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What is stored of a host in a period."""

    first: int
    last: int
    snapshots: int
    start: datetime
    earliest: datetime
    """When the first of them ended."""
    end: datetime
    longest: timedelta
    """The longest snapshot."""
    created_at: datetime
    """When the host became known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded:
    """What has to come together somewhere within a time; see `ruleset.sought.Crowd`."""

    threshold: int
    timespan: timedelta
    group: Sequence[ColumnElement[Any]]
    value: ColumnElement[Any] | None
    sums: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Conditions on what tells of a past; see `ruleset.sought.Sought`."""

    host_id: int
    of_key: ColumnElement[bool]
    of_hour: ColumnElement[bool]
    hours_say_more: bool
    crowd: Crowded | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Snapshots to be read, and the keys whose rows may matter there."""

    keys: frozenset[int]
    spans: Sequence[Span]
    """In order; no two overlap."""


def extent(
    connection: Connection, host_id: int, since: datetime | None, until: datetime | None, span: Span | None = None
) -> Extent | None:
    """What is stored of a host's snapshots that ended in a period, and are in a span; None: nothing is."""
    seq, start, end = snapshots.c.seq, snapshots.c.start, snapshots.c.end
    of_host = [snapshots.c.host_id == host_id]
    of_host += [] if since is None else [end > since]
    of_host += [] if until is None else [end <= until]
    of_host += [] if span is None else [seq.between(*span)]
    kind = TIMESTAMP(timezone=True) if connection.dialect.name == "postgresql" else BigInteger()
    length = func.max(type_coerce(end, kind) - type_coerce(start, kind))
    # "+ 0" leaves SQLite the index over ends.
    columns = (
        func.min(seq + 0),
        func.max(seq + 0),
        func.count(),
        func.min(start),
        func.min(end),
        func.max(end),
        length,
    )
    first, last, number, oldest, earliest, latest, longest = connection.execute(select(*columns).where(*of_host)).one()
    if first is None:
        return None
    created_at = connection.scalar(select(hosts.c.created_at).where(hosts.c.host_id == host_id))
    return Extent(
        first=first,
        last=last,
        snapshots=number,
        start=oldest,
        earliest=earliest,
        end=latest,
        longest=longest if isinstance(longest, timedelta) else timedelta(microseconds=longest),
        created_at=created_at or oldest,
    )


def choose(connection: Connection, asked: Asked, whole: Extent) -> list[Part]:
    """What may matter of all that is stored, in order; no two parts share a snapshot."""
    crowd = asked.crowd
    keys: Keys = {key_id: tuple(group) for key_id, *group in connection.execute(_grouped_keys(asked))}
    values = None
    if crowd is not None and crowd.value is not None:
        values = {key_id: group[-1] for key_id, group in keys.items()}
        keys = _with_values(keys, crowd.threshold)
    if not keys:
        return []
    parts = _by_sums(connection, asked, keys, whole)
    if crowd is None or not _many(parts):
        return parts
    return _crowds(connection, asked, parts, Crowds(keys, values, crowd))


def _many(parts: Sequence[Part]) -> bool:
    return sum(last - first for part in parts for first, last in part.spans) > _FEW_SNAPSHOTS


def _crowds(connection: Connection, asked: Asked, parts: list[Part], crowds: Crowds) -> list[Part]:
    """What is left of parts, looked at snapshot by snapshot."""
    spans = [span for part in parts for span in part.spans]
    if not crowds.look(connection, asked.host_id, spans):
        return parts
    left = _spans(connection, asked.host_id, crowds.times, (spans[0][0], spans[-1][1]))
    found = [
        Part(keys=part.keys & crowds.keys, spans=[both for span in part.spans for both in _within(left, span)])
        for part in parts
    ]
    return [part for part in found if part.keys and part.spans]


def _within(spans: Iterable[Span], one: Span) -> list[Span]:
    """What `spans` share with one."""
    shared = ((max(first, one[0]), min(last, one[1])) for first, last in spans)
    return [each for each in shared if each[0] <= each[1]]


def _by_sums(connection: Connection, asked: Asked, keys: Keys, whole: Extent) -> list[Part]:
    """What may matter by the sums of hours and days."""
    crowd = asked.crowd
    rolled = connection.scalar(
        select(detection_cursors.c.rolled_seq).where(detection_cursors.c.host_id == asked.host_id)
    )
    told = (whole.first, min(rolled or 0, whole.last))
    narrowed = None
    if told[0] <= told[1] and _hours_tell(connection, asked.host_id, told):
        narrowed = _by_hours(connection, asked, keys) if crowd is None else _crowded(connection, asked, keys, whole)
    if narrowed is None:
        return [Part(keys=frozenset(keys), spans=[(whole.first, whole.last)])]
    some, times = narrowed
    # What is not added up yet is told by the snapshots alone, and so is a window that reaches into it.
    back = timedelta(0) if crowd is None else crowd.timespan
    tail = _tail(connection, asked.host_id, told[1], whole, back)
    spans = _spans(connection, asked.host_id, times, (whole.first, tail - 1))
    parts = [Part(keys=frozenset(some), spans=spans), Part(keys=frozenset(keys), spans=[(tail, whole.last)])]
    return [part for part in parts if part.spans and part.spans[0][0] <= part.spans[-1][1]]


def windows_begin(connection: Connection, host_id: int, ends: Span, earliest: datetime, latest: datetime) -> int:
    """The first snapshot of the windows of a span's snapshots.

    Args:
        connection: the transaction.
        host_id: whose.
        ends: the first and the last snapshot that a window ends with.
        earliest: windows begin after it.
        latest: when the last of the snapshots ended.
    """
    # "+ 0" leaves SQLite the index over ends.
    seq, end = snapshots.c.seq + 0, snapshots.c.end
    first = connection.scalar(
        select(func.min(seq)).where(snapshots.c.host_id == host_id, end > earliest, end <= latest, seq <= ends[1])
    )
    return ends[0] if first is None else min(first, ends[0])


def _grouped_keys(asked: Asked) -> Select[Any]:
    """The keys that may matter, each with its group and, if that is asked for, its value."""
    keys, crowd = connection_keys.c, asked.crowd
    columns = [] if crowd is None else [*crowd.group, *([] if crowd.value is None else [crowd.value])]
    return (
        select(keys.key_id, *map(_plain, columns))
        .select_from(connection_keys.join(hosts, hosts.c.host_id == keys.host_id))
        .where(keys.host_id == asked.host_id, asked.of_key)
    )


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return type_coerce(column, LargeBinary) if isinstance(column.type, Address) else column


def _with_values(keys: Keys, threshold: int) -> Keys:
    """The keys of groups that ever had so many values, each with its group alone."""
    values: dict[tuple[Any, ...], set[Any]] = defaultdict(set)
    for *group, value in keys.values():
        if value is not None:
            values[tuple(group)].add(value)
    return {key_id: each[:-1] for key_id, each in keys.items() if len(values[each[:-1]]) >= threshold}


def _hours_tell(connection: Connection, host_id: int, span: Span) -> bool:
    """Whether the sums of the oldest snapshot of a span are there, and so those of all: the oldest expire first."""
    here = packed_counts.c
    same = and_(snapshots.c.host_id == here.host_id, snapshots.c.seq == here.seq, snapshots.c.end == here.end)
    oldest = connection.execute(
        select(here.content, snapshots.c.start)
        .join(snapshots, same)
        .where(here.host_id == host_id, here.seq.between(*span), here.rows > 0)
        .order_by(here.seq)
        .limit(1)
    ).first()
    if oldest is None:
        return True
    try:
        key_id = unpack_keys(oldest.content)[0]
    except PackingError:
        return False
    return all(
        connection.scalar(
            select(
                exists().where(
                    table.c.host_id == host_id, table.c.key_id == key_id, table.c.start == floor(oldest.start, length)
                )
            )
        )
        for table, length in ((hourly_counts, HOUR), (daily_counts, DAY))
    )


def _by_hours(connection: Connection, asked: Asked, keys: Keys) -> tuple[Keys, list[Time]] | None:
    """The keys that may matter by the sums of hours, and when they were there; None: too many, or no fewer."""
    few = len(keys) <= _FEW_KEYS
    if not few and not asked.hours_say_more:
        return None
    hour, key, origin, name = hourly_counts.c, connection_keys.c, login_origins.c, destination_names.c
    rows = (
        hourly_counts.join(connection_keys, and_(key.host_id == hour.host_id, key.key_id == hour.key_id))
        .join(hosts, hosts.c.host_id == hour.host_id)
        .outerjoin(login_origins, and_(origin.host_id == hour.host_id, origin.origin_id == hour.origin_id))
        .outerjoin(destination_names, and_(name.host_id == hour.host_id, name.name_id == hour.name_id))
    )
    statement = select(hour.key_id, hour.first_seen, hour.last_seen).select_from(rows)
    conditions = [hour.host_id == asked.host_id, asked.of_hour]
    if few:
        conditions.append(one_of(connection, hour.key_id, keys))
    found = connection.execute(statement.where(*conditions).limit(_MOST_SUMS + 1)).all()
    if len(found) > _MOST_SUMS:
        return None
    there = {row.key_id for row in found}
    return {each: keys[each] for each in there & keys.keys()}, [(row.first_seen, row.last_seen) for row in found]


def _crowded(connection: Connection, asked: Asked, keys: Keys, whole: Extent) -> tuple[Keys, list[Time]] | None:
    """The keys of groups that come together somewhere, and when they do; None: they are too many.

    A window reaches into a few hours (or days): of what passes, one of them has its share of the threshold at least.
    """
    assert asked.crowd is not None  # noqa: S101 - a fault of ours
    times: list[Time] | None = None
    # Days are fewer. What is left after them is looked at by the hour, where that says more.
    for table, length in ((daily_counts, DAY), (hourly_counts, HOUR)):
        if length is HOUR and (len(keys) > _FEW_KEYS or asked.crowd.timespan > DAY / 2):
            break
        found = connection.execute(_busy(connection, asked, table, length, keys, whole).limit(_MOST_SUMS + 1)).all()
        if len(found) > _MOST_SUMS:
            break
        groups = {tuple(row[:-2]) for row in found}
        keys = {key_id: group for key_id, group in keys.items() if group in groups}
        back = asked.crowd.timespan
        times = [(row[-2] - back, row[-1] + back) for row in found]
    return None if times is None else (keys, times)


def _busy(
    connection: Connection, asked: Asked, table: Table, length: timedelta, keys: Keys, whole: Extent
) -> Select[Any]:
    """Groups and periods that have their share of the threshold, and from when to when they were seen in it."""
    crowd = asked.crowd
    assert crowd is not None  # noqa: S101 - a fault of ours
    sums, key = table.c, connection_keys.c
    group = [_plain(column).label(f"group_{number}") for number, column in enumerate(crowd.group)]
    if crowd.value is None:
        count: Any = sum((func.sum(sums[name]) for name in crowd.sums[1:]), func.sum(sums[crowd.sums[0]]))
    else:
        count = func.count(_plain(crowd.value).distinct())
    # A snapshot belongs to the period that it began in, and to the window that it ended in.
    share = crowd.threshold / (ceil((crowd.timespan + whole.longest) / length) + 1)
    conditions = [sums.host_id == asked.host_id]
    if len(keys) <= _FEW_KEYS:
        conditions.append(one_of(connection, sums.key_id, keys))
    else:
        conditions.append(asked.of_key)
    return (
        select(*group, func.min(sums.first_seen), func.max(sums.last_seen))
        .select_from(
            table.join(connection_keys, and_(key.host_id == sums.host_id, key.key_id == sums.key_id)).join(
                hosts, hosts.c.host_id == sums.host_id
            )
        )
        .where(*conditions)
        .group_by(*(each.name for each in group), sums.start)
        .having(count >= share)
    )


def _tail(connection: Connection, host_id: int, rolled: int, whole: Extent, back: timedelta) -> int:
    """The first snapshot of what the sums do not tell, and of the windows that reach into it."""
    of_host = snapshots.c.host_id == host_id
    begins = connection.scalar(
        select(func.min(snapshots.c.start)).where(of_host, snapshots.c.seq.between(rolled + 1, whole.last))
    )
    if begins is None:
        return whole.last + 1
    first = connection.scalar(
        select(func.min(snapshots.c.seq + 0)).where(of_host, snapshots.c.end > begins - back, snapshots.c.end <= begins)
    )
    return max(whole.first, min(rolled + 1, first or rolled + 1))


def _spans(connection: Connection, host_id: int, times: Iterable[Time], within: Span) -> list[Span]:
    """The snapshots that ended in these times, and those between them; as far as they are within a span."""
    seq, end = snapshots.c.seq + 0, snapshots.c.end
    spans: list[Span] = []
    for after, until in _merged(times):
        first, last = connection.execute(
            select(func.min(seq), func.max(seq)).where(snapshots.c.host_id == host_id, end > after, end <= until)
        ).one()
        if first is not None and max(first, within[0]) <= min(last, within[1]):
            spans.append((max(first, within[0]), min(last, within[1])))
    return _joined(spans)


def _merged(times: Iterable[Time]) -> list[Time]:
    """Times that do not overlap, of some that may."""
    merged: list[Time] = []
    for after, until in sorted(times):
        if merged and after <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((after, until))
    return merged


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans that do not meet, of some that may."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
