"""The newest rows that match a filter: of snapshots, and where these have expired, of hours and days.

Every search goes host by host: that is how the large tables are keyed, on one bastion and in a fleet alike. What
is not rolled up yet is looked at itself. Of what is, roll-ups tell in which hours a wanted key was active, and when
in them, so that no other snapshots are read, however long ago it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.store.chosen import Chosen
from detector.store.cover import Cover, tail
from detector.store.filters import known_hosts
from detector.store.matching import newest_rows, whole_rows
from detector.store.packed import Names
from detector.store.packing_observations import NO_OBSERVATION
from detector.store.periods import Periods, has_snapshots, hours_since, made_of, rolled_until, with_keys
from detector.store.rollups import DAY, HOUR, floor
from detector.store.tables import connection_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from detector.store.filters import HistoryFilter
    from detector.store.matching import Matching
    from detector.store.packed import PackedSnapshot
    from detector.store.periods import RolledRow

MOST_COUNTED = 100_000
"""Rows beyond those asked for are counted up to this number: nobody reads an exact larger one, and it takes long."""

# How many of the newest snapshots are looked at before roll-ups are: what is frequent is found there.
_LOOKED_AT = 60
_WIDER = 4
_WIDEST = timedelta(days=64)
_ORDER = ("start", "end", "host_id", "seq", "key_id", "session")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The newest matching rows, oldest first, with the names of the design; and how many older ones match too."""

    rows: tuple[Mapping[str, Any], ...]
    total_more: int
    """In snapshots, however few rows tell of them. Exact up to MOST_COUNTED, which stands for that many or more."""
    about: bool = False
    """It is not exact: hours of which snapshots match are counted whole."""


@dataclass(slots=True)
class _Hit:
    """A row that was found: of a snapshot, or of roll-ups."""

    place: tuple[Any, ...]
    """In the order of time."""
    snapshots: int
    packed: tuple[PackedSnapshot, int] | None = None
    rolled: tuple[RolledRow, str, datetime] | None = None


def find(connection: Connection, wanted: HistoryFilter, limit: int) -> Page:
    """The newest `limit` rows that match `wanted`, over all hosts: each one key in one snapshot, hour or day.

    Rows have `host`, `start`, `end`, `resolution` ("snapshot", "hour", "day") and `snapshots` (in how many of them the
    key was), what `packed.Names` gives, and the columns of observations (None where detection has not been, and of
    hours and days all but the score). An hour stands for snapshots that have expired, a day for such hours; either is
    there whole if the period cuts it in two.
    """
    found: list[tuple[_Hit, _Search]] = []
    matching, about = 0, False
    for host_id, host in known_hosts(connection, wanted.host).items():
        chosen = Chosen.by(connection, host_id, wanted)
        if chosen.nothing:
            continue
        search = _Search(connection, chosen, host, limit)
        # What is older than as many as are asked for need not be looked for.
        hits = search.newest(found[0][0].place[0] if len(found) >= limit else None)
        found = sorted([*found, *((hit, search) for hit in hits)], key=lambda each: each[0].place)[-limit:]
        matching += search.total(limit + MOST_COUNTED - matching)
        about |= search.about
    rows: list[dict[str, Any]] = []
    for search in {id(search): search for _, search in found}.values():
        rows += search.whole(hit for hit, of in found if of is search)
    rows.sort(key=lambda row: tuple(row[name] for name in _ORDER))
    more = max(matching - sum(hit.snapshots for hit, _ in found), 0)
    return Page(rows=tuple(rows), total_more=min(more, MOST_COUNTED), about=about and more > 0)


class _Search:
    """The search of one host."""

    def __init__(self, connection: Connection, chosen: Chosen, host: str, limit: int) -> None:
        self._connection = connection
        self._chosen = chosen
        self._host = host
        self._limit = limit
        self._last = rolled_until(connection, chosen.host_id)
        self._tail = 0
        self.about = False

    def newest(self, after: datetime | None) -> list[_Hit]:
        """The newest rows, in order, at most as many as are asked for.

        Args:
            after: what began before need not be there.
        """
        hits: list[_Hit] = []
        full = False
        for snapshot, rows in tail(self._connection, self._chosen):
            self._tail += len(rows)
            if not full or snapshot.start >= hits[0].place[0]:
                hits += self._of_snapshot(snapshot, rows)
                if full := len(hits) >= self._limit:
                    hits = self._newest_of(hits)
            if self._tail >= self._limit + MOST_COUNTED:
                break
        if self._last and len(hits) < self._limit:
            hits += self._rolled(self._limit - len(hits), after)
        return self._newest_of(hits)

    def total(self, most: int) -> int:
        """How many rows match; if there are more than `most`, a number that is not less than it.

        To be called after `newest`.
        """
        matching: int = self._tail
        if not self._last or matching >= most:
            return matching
        cover = Cover.of(self._connection, self._chosen)
        for table, conditions in cover.parts():
            here = int(self._connection.scalar(select(func.sum(table.c.snapshots)).where(*conditions)) or 0)
            self.about |= here > 0 and not self._chosen.exact
            matching += here
            if matching >= most:
                return matching
        snapshots, expired = cover.cut()
        self.about |= bool(expired) or cover.cut_days()
        matching += sum(len(rows) for _, rows in snapshots)
        return matching + sum(int(row.snapshots) for row in expired)

    def whole(self, hits: Iterable[_Hit]) -> list[dict[str, Any]]:
        """Rows as `find` gives them."""
        packed: list[Matching] = []
        rolled: list[dict[str, Any]] = []
        for hit in hits:
            if hit.packed is not None:
                packed.append((hit.packed[0], [hit.packed[1]]))
            if hit.rolled is not None:
                rolled.append(self._numbers(*hit.rolled))
        names = Names(self._connection, self._chosen.host_id)
        return whole_rows(self._connection, self._chosen.host_id, self._host, packed, names) + names.rows(rolled)

    def _rolled(self, limit: int, after: datetime | None) -> list[_Hit]:
        """The newest rows of what is rolled up: at least `limit`, if there are as many."""
        if after is None:
            after = self._chosen.since
        looked = newest_rows(self._connection, self._chosen, self._last, _LOOKED_AT)
        hits = [hit for snapshot, rows in looked for hit in self._of_snapshot(snapshot, rows)]
        if len(hits) >= limit and self._are_whole(hits):
            return hits
        chosen = with_keys(self._connection, self._chosen)
        if chosen.nothing:
            return []
        hits = []
        newest = self._newest_start(chosen)
        since = hours_since(self._connection, chosen, after)
        hours = Periods.hours(self._connection, chosen)
        for first, end in _windows(newest, None, _later(since, after)):
            hits += self._of_hours(hours, first, end, limit - len(hits))
            if len(hits) >= limit:
                return hits
        if since is not None:
            days = Periods.days(self._connection, chosen)
            for first, end in _windows(min(since, newest), since, after):
                hits += [self._of_period(row, "day", days.length) for row in days.rows(first, end)]
                if len(hits) >= limit:
                    break
        return hits

    def _are_whole(self, hits: Iterable[_Hit]) -> bool:
        """Whether no hour of these is one that stands for snapshots which have expired."""
        return has_snapshots(self._connection, self._chosen.host_id, floor(min(hit.place[0] for hit in hits), HOUR))

    def _newest_start(self, chosen: Chosen) -> datetime:
        """No wanted row began after this."""
        keys = connection_keys.c
        of_host = select(func.max(keys.last_seen)).where(keys.host_id == chosen.host_id)
        newest = self._connection.scalar(of_host) or datetime.now(UTC)
        return newest if chosen.until is None else min(newest, chosen.until)

    def _of_hours(self, hours: Periods, first: datetime | None, end: datetime | None, limit: int) -> list[_Hit]:
        """The newest rows of some hours, at least `limit`, if there are as many."""
        hits: list[_Hit] = []
        expected, at_once = 0, 1
        for moment, rows in hours.starts(first, end):
            # How many rows of an hour match is known, or else is found out with care: an hour is long to go through.
            expected += rows if self._chosen.exact else -(-limit // at_once)
            if len(hits) + expected >= limit:
                hits += self._made_of(hours.rows(moment, end), hours.length)
                if len(hits) >= limit:
                    return hits
                end, expected, at_once = moment, 0, 2 * at_once
        return hits + self._made_of(hours.rows(first, end), hours.length)

    def _made_of(self, rows: Sequence[RolledRow], length: timedelta) -> list[_Hit]:
        if not rows:
            return []
        found, expired = made_of(self._connection, self._chosen, rows, self._last)
        hits = [hit for snapshot, numbers in found for hit in self._of_snapshot(snapshot, numbers)]
        return hits + [self._of_period(row, "hour", length) for row in expired]

    def _of_snapshot(self, snapshot: PackedSnapshot, rows: Sequence[int]) -> list[_Hit]:
        keys, sessions, host_id = snapshot.counts["key_id"], snapshot.counts["session"], self._chosen.host_id
        return [
            _Hit((snapshot.start, snapshot.end, host_id, snapshot.seq, keys[row], sessions[row]), 1, (snapshot, row))
            for row in rows
        ]

    def _of_period(self, row: RolledRow, resolution: str, length: timedelta) -> _Hit:
        place = (row.start, row.start + length, self._chosen.host_id, 0, row.key_id, 0)
        return _Hit(place, row.snapshots, rolled=(row, resolution, row.start + length))

    def _newest_of(self, hits: list[_Hit]) -> list[_Hit]:
        return sorted(hits, key=lambda hit: hit.place)[-self._limit :]

    def _numbers(self, row: RolledRow, resolution: str, end: datetime) -> dict[str, Any]:
        """The columns of a row of roll-ups under the names of those of a snapshot."""
        numbers = dict(row._mapping)
        score = numbers.pop("peak_score")
        # Of the key's the names are the same.
        del numbers["first_seen"], numbers["last_seen"]
        place = {"host": self._host, "host_id": self._chosen.host_id, "seq": 0, "session": 0, "end": end}
        return {**numbers, **place, "resolution": resolution, **NO_OBSERVATION, "score": score}


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    moments = [moment for moment in (one, other) if moment is not None]
    return max(moments, default=None)


def _windows(
    newest: datetime, end: datetime | None, oldest: datetime | None
) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Spans of whole days from the newest to the oldest, each longer than the one after it.

    Args:
        newest: falls into the first of them, or is its end.
        end: where that one ends; None: nowhere.
        oldest: falls into the last of them; None: that one begins nowhere.
    """
    length = DAY
    first = floor(newest, DAY)
    if first == end:
        first -= length
    while length <= _WIDEST:
        if oldest is not None and first <= oldest:
            yield floor(oldest, DAY), end
            return
        yield first, end
        length *= _WIDER
        end, first = first, first - length
    yield None if oldest is None else floor(oldest, DAY), end
