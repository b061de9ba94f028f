"""Which keys of a past may matter, and when, by the sums of hours and days alone."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, select

from detector.store import bulk
from detector.store.extent import plain
from detector.store.packing import PackingError, unpack_keys
from detector.store.rollups import DAY, HOUR, floor
from detector.store.tables import (
    connection_keys,
    daily_counts,
    destination_names,
    hosts,
    hourly_counts,
    login_origins,
    packed_counts,
    snapshots,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Connection, Select, Table

    from detector.store.extent import Asked, Extent, Keys, Span, Time

# So many sums are looked at one by one; with more, all that is between is read.
_MOST_SUMS = 20_000
# So few keys are named to the database, which finds their sums by them.
_FEW_KEYS = 2_000


def hours_tell(connection: Connection, host_id: int, span: Span) -> bool:
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


def by_hours(connection: Connection, asked: Asked, keys: Keys) -> tuple[Keys, list[Time]] | None:
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
        conditions.append(bulk.among(connection, hour.key_id, keys))
    found = connection.execute(statement.where(*conditions).limit(_MOST_SUMS + 1)).all()
    if len(found) > _MOST_SUMS:
        return None
    there = {row.key_id for row in found}
    return {each: keys[each] for each in there & keys.keys()}, [(row.first_seen, row.last_seen) for row in found]


def by_crowds(connection: Connection, asked: Asked, keys: Keys, whole: Extent) -> tuple[Keys, list[Time]] | None:
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
    group = [plain(column).label(f"group_{number}") for number, column in enumerate(crowd.group)]
    if crowd.value is None:
        count: Any = sum((func.sum(sums[name]) for name in crowd.sums[1:]), func.sum(sums[crowd.sums[0]]))
    else:
        count = func.count(plain(crowd.value).distinct())
    # A snapshot belongs to the period that it began in, and to the window that it ended in.
    share = crowd.threshold / (ceil((crowd.timespan + whole.longest) / length) + 1)
    conditions = [sums.host_id == asked.host_id]
    if len(keys) <= _FEW_KEYS:
        conditions.append(bulk.among(connection, sums.key_id, keys))
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


def tail(connection: Connection, host_id: int, rolled: int, whole: Extent, back: timedelta) -> int:
    """The first snapshot of what the sums do not tell, and of the windows that reach into it."""
    of_host = snapshots.c.host_id == host_id
    begins = connection.scalar(
        select(func.min(snapshots.c.start)).where(of_host, snapshots.c.seq.between(rolled + 1, whole.last))
    )
    if begins is None:
        return whole.last + 1
    # However late they ended: the clock may have been set back since.
    first = connection.scalar(
        select(func.min(snapshots.c.seq + 0)).where(of_host, snapshots.c.end > begins - back, snapshots.c.seq <= rolled)
    )
    return max(whole.first, min(rolled + 1, first or rolled + 1))
