"""Adds snapshots up by hour and by day: years can be asked for in a moment, and are kept when snapshots have expired.

A snapshot is added once, when its hour is over; until then whoever asks looks at it itself. It belongs to the hour and
the day (of UTC) that it began in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, select, update

from detector.store.engine import reading, writing
from detector.store.packed import read_packed
from detector.store.packing_observations import score_of
from detector.store.tables import connection_keys, daily_counts, detection_cursors, hourly_counts, snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Engine, Table

    from detector.store.packed import PackedSnapshot

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROLLED = ((hourly_counts, HOUR), (daily_counts, DAY))
_SUMMED = ("snapshots", "attempted", "established", "refused", "timed_out", "failed", "handshake_us_total")
_KEY = ("host_id", "key_id", "start", "origin_id", "name_id")
# An hour of snapshots ten seconds long; and of sums what a scan has in one snapshot, and others in an hour.
_AT_ONCE, _SUMS_AT_ONCE = 360, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """What `advance` did."""

    snapshots: int
    more: bool
    """There are others whose hours are over."""


def advance(engine: Engine, host_id: int, *, now: datetime) -> Rolled:
    """Adds up to an hour's worth of a host's snapshots that detection has seen and whose hours are over.

    They are read before the transaction that writes, so that it takes no longer than it has to.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        span = _span(connection, host_id, now)
        if span is None:
            return Rolled(snapshots=0, more=False)
        first, last = span
        until = min(last, first + _AT_ONCE - 1)
        sums = _Sums(host_id)
        for snapshot in read_packed(connection, host_id, (first, until)):
            sums.add(snapshot)
            if sums.number >= _SUMS_AT_ONCE:
                until = snapshot.seq
                break
    with writing(engine) as connection:
        cursor = detection_cursors.c
        advanced = connection.execute(
            update(detection_cursors)
            .where(cursor.host_id == host_id, cursor.rolled_seq == first - 1)
            .values(rolled_seq=until)
        )
        if not advanced.rowcount:
            # Another worker has added them meanwhile.
            return Rolled(snapshots=0, more=True)
        sums.write(connection)
    return Rolled(snapshots=until - first + 1, more=until < last)


def floor(moment: datetime, length: timedelta) -> datetime:
    """The start of the hour or the day, of UTC, that a moment falls into."""
    return moment - (moment - _EPOCH) % length


def _span(connection: Connection, host_id: int, now: datetime) -> tuple[int, int] | None:
    """The first and the last snapshot that are to be added."""
    cursor = detection_cursors.c
    where = connection.execute(select(cursor.seq, cursor.rolled_seq).where(cursor.host_id == host_id)).first()
    if where is None or where.seq <= where.rolled_seq:
        return None
    first = where.rolled_seq + 1
    of_host = (snapshots.c.host_id == host_id, snapshots.c.seq.between(first, where.seq))
    newest = connection.scalar(select(snapshots.c.start).where(*of_host).order_by(snapshots.c.seq.desc()).limit(1))
    if newest is None:
        # They have expired before they could be added.
        return first, where.seq
    hour = floor(newest, HOUR)
    if now - hour >= 2 * HOUR:
        # Nothing comes any more: a host that fell silent, or a log that was imported.
        return first, where.seq
    # What lies beyond it was taken by a clock that was ahead, and put right since.
    in_hour = (snapshots.c.start >= hour, snapshots.c.start < hour + HOUR)
    present = connection.scalar(select(func.min(snapshots.c.seq)).where(*of_host, *in_hour))
    last = (present or where.seq + 1) - 1
    return (first, last) if last >= first else None


class _Sums:
    """What snapshots add up to, by period, key, origin and name."""

    def __init__(self, host_id: int) -> None:
        self._host_id = host_id
        self._of: dict[str, dict[tuple[Any, ...], list[Any]]] = {table.name: {} for table, _ in _ROLLED}

    @property
    def number(self) -> int:
        """How many there are, by the hour."""
        return len(self._of[hourly_counts.name])

    def add(self, snapshot: PackedSnapshot) -> None:
        counts, observed = snapshot.counts, snapshot.observations
        surprises: Sequence[float] = [-1.0] * snapshot.rows if observed is None else observed.surprise
        numbers = zip(
            counts["key_id"],
            counts["origin_id"],
            counts["name_id"],
            *(counts[name] for name in _SUMMED[1:]),
            counts["handshake_us_max"],
            surprises,
            strict=True,
        )
        in_hour = self._of[hourly_counts.name]
        hour = floor(snapshot.start, HOUR)
        for key_id, origin_id, name_id, *summed, longest, surprise in numbers:
            here = (key_id, hour, origin_id, name_id)
            known = in_hour.get(here)
            # NaN: the host was being learnt.
            strange = -1.0 if isnan(surprise) else surprise
            if known is None:
                in_hour[here] = [1, *summed, longest, snapshot.start, snapshot.end, strange]
                continue
            known[0] += 1
            for place, number in enumerate(summed, start=1):
                known[place] += number
            known[-4] = max(known[-4], longest)
            known[-3] = min(known[-3], snapshot.start)
            known[-2] = max(known[-2], snapshot.end)
            known[-1] = max(known[-1], strange)

    def write(self, connection: Connection) -> None:
        hours = self._of[hourly_counts.name]
        days: dict[tuple[Any, ...], list[Any]] = {}
        for (key_id, hour, *names), values in hours.items():
            here = (key_id, floor(hour, DAY), *names)
            known = days.get(here)
            if known is None:
                days[here] = list(values)
                continue
            for place in range(len(_SUMMED)):
                known[place] += values[place]
            known[-4] = max(known[-4], values[-4])
            known[-3] = min(known[-3], values[-3])
            known[-2:] = [max(pair) for pair in zip(known[-2:], values[-2:], strict=True)]
        _add(connection, hourly_counts, self._rows(hours))
        _add(connection, daily_counts, self._rows(days))
        last_seen: dict[int, datetime] = {}
        for (key_id, *_), values in hours.items():
            last_seen[key_id] = max(values[-2], last_seen.get(key_id, values[-2]))
        if last_seen:
            keys = connection_keys.c
            connection.execute(
                update(connection_keys)
                .where(keys.host_id == self._host_id, keys.key_id == bindparam("b_key_id"))
                .where(keys.last_seen < bindparam("b_last_seen"))
                .values(last_seen=bindparam("b_last_seen")),
                [{"b_key_id": key_id, "b_last_seen": moment} for key_id, moment in last_seen.items()],
            )

    def _rows(self, sums: Mapping[tuple[Any, ...], list[Any]]) -> list[dict[str, Any]]:
        names = (*_KEY[1:], *_SUMMED, "handshake_us_max", "first_seen", "last_seen", "peak_score")
        rows = [
            {"host_id": self._host_id, **dict(zip(names, (*key, *values), strict=True))}
            for key, values in sorted(sums.items())
        ]
        for row in rows:
            surprise = row["peak_score"]
            row["peak_score"] = None if surprise < 0 else score_of(surprise)
        return rows


def _add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows to those that are there of the same key and period."""
    if not rows:
        return
    from sqlalchemy.dialects import postgresql, sqlite

    # SQLite's max() and min() of several values are Postgres' greatest() and least(), but are NULL if one of these is.
    on_postgres = connection.dialect.name == "postgresql"
    larger, smaller = (func.greatest, func.least) if on_postgres else (func.max, func.min)
    statement = (postgresql if on_postgres else sqlite).insert(table)
    new, there = statement.excluded, table.c
    replaced: dict[str, Any] = {name: there[name] + new[name] for name in _SUMMED}
    replaced |= {name: larger(there[name], new[name]) for name in ("handshake_us_max", "last_seen")}
    replaced["first_seen"] = smaller(there.first_seen, new.first_seen)
    replaced["peak_score"] = case(
        (there.peak_score.is_(None), new.peak_score),
        (new.peak_score.is_(None), there.peak_score),
        else_=larger(there.peak_score, new.peak_score),
    )
    connection.execute(statement.on_conflict_do_update(index_elements=list(_KEY), set_=replaced), rows)
