"""Keeps the tallies of correlations up with the snapshots of each host, one after another.

What enters a window are the rows of the snapshot before the one at hand, which were seen when that was at hand; what
leaves it is read again. Only a process that begins, or one that finds something amiss, reads a whole window.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import func, select

from detector.ruleset.events import AFTER, HOST_ID, SEQ, UNTIL
from detector.ruleset.sieve import Sieve
from detector.store.tables import detection_cursors, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy import Connection, Select

    from detector.domain import SnapshotRef
    from detector.ruleset.sieve import Wanted
    from detector.ruleset.tallies import Entry, Tally

# Of all correlations of a host, up to 24 bytes each. A host that has more, in the middle of a flood, is read anew.
_MOST_ENTRIES = 2_000_000
# Of a bare seq SQLite would go through all of the host's snapshots; "+ 0" leaves it the index over their ends.
_IN_WINDOW = select(func.min(snapshots.c.seq + 0), func.count()).where(
    snapshots.c.host_id == HOST_ID, snapshots.c.seq + 0 <= SEQ, snapshots.c.end > AFTER, snapshots.c.end <= UNTIL
)
_RECENT = select(detection_cursors.c.recent_seq).where(detection_cursors.c.host_id == HOST_ID)


@dataclass(frozen=True, slots=True)
class Window:
    """The host's snapshots that end after a snapshot's end less a timespan, no later than it, and that were written no
    later: the same whenever it is looked at."""

    place: Mapping[str, Any]
    """What statements over it are asked with."""
    first_seq: int
    unbroken: bool
    """Its snapshots are all between its first and its last number. They are, unless the clock was set back."""


class Counting(Protocol):
    """A correlation, as far as its window is concerned."""

    timespan: timedelta
    wanted: Wanted
    """Its rows; see `entries`."""

    def tally(self) -> Tally:
        """An empty one."""

    def entries(self, rows: Iterable[Sequence[Any]]) -> list[Entry]:
        """What rows count: each with what it counts, and its group."""

    def history(self, *, unbroken: bool) -> Select[Any]:
        """What the rows of a window add up to, as rows after the number of a snapshot."""


@dataclass(slots=True)
class _Host:
    """How far a host's tallies are: what is before `seq` is in them, less what was before `firsts`, by timespan."""

    seq: int
    firsts: dict[timedelta, int]
    entries: Sequence[Sequence[Entry]]
    """What the snapshot `seq` adds, by correlation."""
    tallies: dict[int, Tally] = field(default_factory=dict)


class Windows:
    """The tallies of some correlations, of all hosts."""

    def __init__(self, counting: Sequence[Counting]) -> None:
        self._counting = counting
        self._timespans = {each.timespan for each in counting}
        self._hosts: dict[int, _Host] = {}
        # By timespan: those that have to be told what leaves their window.
        self._leaving: dict[timedelta, tuple[list[int], Sieve]] = {}
        by_span: dict[timedelta, list[int]] = defaultdict(list)
        for which, each in enumerate(counting):
            if each.tally().leaves:
                by_span[each.timespan].append(which)
        for timespan, several in by_span.items():
            self._leaving[timespan] = several, Sieve([counting[which].wanted for which in several], span=True)
        self._entering = Sieve([each.wanted for each in counting], span=True)

    def passing(
        self, connection: Connection, snapshot: SnapshotRef, rows: Sequence[Sequence[Sequence[Any]]]
    ) -> list[tuple[Window, set[int]]]:
        """For each correlation its window and the groups that pass there and that its `rows` of `snapshot` add to."""
        if not self._counting:
            return []
        windows = {timespan: _read_window(connection, snapshot, timespan) for timespan in self._timespans}
        entries = [each.entries(found) for each, found in zip(self._counting, rows, strict=True)]
        host = self._brought_up(connection, snapshot, windows, entries)
        self._hosts[snapshot.host_id] = host
        found: list[tuple[Window, set[int]]] = []
        for which, counting in enumerate(self._counting):
            window, groups = windows[counting.timespan], set[int]()
            if entries[which]:
                tally = host.tallies.get(which)
                if tally is None:
                    tally = _read(connection, counting, snapshot, window)
                    if window.unbroken and not counting.wanted.category.rows.change:
                        host.tallies[which] = tally
                first_seq = window.first_seq if window.unbroken else 0
                groups = tally.passing(first_seq, snapshot.seq, entries[which])
            found.append((window, groups))
        if sum(tally.size for tally in host.tallies.values()) > _MOST_ENTRIES:
            del self._hosts[snapshot.host_id]
        return found

    def _brought_up(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        windows: Mapping[timedelta, Window],
        entries: Sequence[Sequence[Entry]],
    ) -> _Host:
        """The host's tallies, less those that cannot be brought up to `snapshot` and have to be made anew."""
        host = self._hosts.get(snapshot.host_id)
        firsts = {timespan: window.first_seq for timespan, window in windows.items() if window.unbroken}
        if host is None or not host.seq <= snapshot.seq or self._gone(connection, snapshot, host):
            return _Host(snapshot.seq, firsts, entries)
        if host.seq == snapshot.seq:
            # Whoever looked at it before may have been rolled back, or looks again: nothing of it is taken in yet.
            host.entries = entries
            return host
        for which, tally in host.tallies.items():
            tally.add(host.seq, host.entries[which])
        if snapshot.seq - host.seq > 1:
            self._enter(connection, snapshot.host_id, host, (host.seq + 1, snapshot.seq - 1))
        for timespan, window in windows.items():
            self._leave(connection, snapshot.host_id, host, timespan, window)
        host.seq, host.firsts, host.entries = snapshot.seq, firsts, entries
        return host

    def _gone(self, connection: Connection, snapshot: SnapshotRef, host: _Host) -> bool:
        """Whether rows that have to leave are not there any more: another process was here meanwhile, or the database
        had no room."""
        recent = connection.scalar(_RECENT, {"host_id": snapshot.host_id}) or 0
        return bool(host.tallies) and recent > min(host.firsts.values(), default=snapshot.seq)

    def _enter(self, connection: Connection, host_id: int, host: _Host, span: tuple[int, int]) -> None:
        """Takes in what another process has looked at."""
        found = self._entering.rows_of_span(connection, host_id, span)
        for which, tally in host.tallies.items():
            _take_in(tally, self._counting[which], found[which])

    def _leave(self, connection: Connection, host_id: int, host: _Host, timespan: timedelta, window: Window) -> None:
        before = host.firsts.get(timespan)
        if not window.unbroken or before is None or window.first_seq < before:
            # The clock was set back. Whatever it is, it can be counted anew.
            for which, counting in enumerate(self._counting):
                if counting.timespan == timespan:
                    host.tallies.pop(which, None)
        elif window.first_seq > before and timespan in self._leaving:
            several, sieve = self._leaving[timespan]
            found = sieve.rows_of_span(connection, host_id, (before, window.first_seq - 1))
            for which, rows in zip(several, found, strict=True):
                if (tally := host.tallies.get(which)) is not None:
                    tally.remove(self._counting[which].entries(row[1:] for row in rows))


def _read_window(connection: Connection, snapshot: SnapshotRef, timespan: timedelta) -> Window:
    place: dict[str, Any] = {"host_id": snapshot.host_id, "seq": snapshot.seq}
    place |= {"after": snapshot.end - timespan, "until": snapshot.end}
    first_seq, number = connection.execute(_IN_WINDOW, place).one()
    return Window(place | {"first_seq": first_seq}, first_seq, snapshot.seq - first_seq + 1 == number)


def _read(connection: Connection, counting: Counting, snapshot: SnapshotRef, window: Window) -> Tally:
    """A tally of a window, less its last snapshot."""
    tally = counting.tally()
    before = dict(window.place) | {"seq": snapshot.seq - 1}
    _take_in(tally, counting, connection.execute(counting.history(unbroken=window.unbroken), before))
    return tally


def _take_in(tally: Tally, counting: Counting, rows: Iterable[Sequence[Any]]) -> None:
    """Rows after the numbers of their snapshots."""
    for seq, some in groupby(sorted(rows, key=itemgetter(0)), key=itemgetter(0)):
        tally.add(seq, counting.entries(row[1:] for row in some))
