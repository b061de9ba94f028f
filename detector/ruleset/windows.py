"""Keeps the tallies of correlations up with the snapshots of each host, one after another.

What enters a window are the rows of the snapshot before the one at hand, which were seen when that was at hand; what
leaves it is read again. Only a process that begins, or one that finds something amiss, reads a whole window: after a
clock was set back, as long as snapshots come into a window that are older than what is in it. A window of which all
snapshots were seen, and nothing in them that counts, is not read either: somebody's flood would hold up the first thing
that somebody else does. So it is with the rows behind groups that pass: they are read when a group passes for the first
time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import select

from detector.ruleset.events import HOST_ID
from detector.ruleset.sieve import Sieve
from detector.ruleset.window import left_between, read_window
from detector.store.tables import detection_cursors, kept_windows

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Select

    from detector.domain import SnapshotRef
    from detector.ruleset.folding import Folded
    from detector.ruleset.sieve import Wanted
    from detector.ruleset.tallies import Entry, Tally
    from detector.ruleset.window import Window

# Of all correlations of a host, up to 24 bytes each. A host that has more, in the middle of a flood, is read anew.
_MOST_ENTRIES = 2_000_000
# Of all groups of a host that passed, 24 bytes each; they are read again.
_MOST_ROWS = 500_000
LONG = 100
"""From so many snapshots on a window is long."""
_SECOND = timedelta(seconds=1)
PLACE = 3
"""So many columns are the place of a row: snapshot, key and session."""
_RECENT = select(detection_cursors.c.recent_seq).where(detection_cursors.c.host_id == HOST_ID)
_KEPT = select(kept_windows.c.back_seconds, kept_windows.c.first_seq).where(kept_windows.c.host_id == HOST_ID)


class Counting(Protocol):
    """A correlation, as far as its window is concerned."""

    timespan: timedelta
    wanted: Wanted
    """Its rows: place, what they count (see `entries`), and group."""

    @property
    def meaning(self) -> tuple[str, ...]:
        """What it counts and when it passes: of two that say the same, one can go on where the other was."""

    shared: tuple[Folded, Select[Any]] | None
    """How a long window may be read together with others, and `history` of what is read so; None: it may not."""

    def tally(self) -> Tally:
        """An empty one."""

    def entries(self, rows: Iterable[Sequence[Any]]) -> list[Entry]:
        """What rows of `wanted` count."""

    def history(self, *, unbroken: bool) -> Select[Any]:
        """What the rows of a window add up to, as such rows, ordered by their places: of these the last snapshot."""


Rows = dict[int, "array[int]"]
"""Places of rows, by group, the oldest first: the numbers of snapshot, key and session one after another."""


@dataclass(frozen=True, slots=True)
class Passing:
    """The groups of a correlation that pass with a snapshot and that it adds to."""

    window: Window
    groups: set[int]
    behind: Rows
    """What is known of the rows behind groups, less those of the snapshot. What is put there is kept up with."""


@dataclass(slots=True)
class _Host:
    """How far a host's tallies are: what is in its windows by timespan, less the snapshot `seq` with which they end."""

    seq: int
    windows: Mapping[timedelta, Window]
    rows: Sequence[Sequence[Sequence[Any]]]
    """Of the snapshot `seq`, by correlation; and what they count."""
    entries: Sequence[Sequence[Entry]]
    tallies: dict[int, Tally] = field(default_factory=dict)
    behind: dict[int, Rows] = field(default_factory=dict)
    nothing_since: dict[int, int] = field(default_factory=dict)
    """By correlation a snapshot since which nothing has counted for it, less the snapshot `seq`."""

    def is_empty(self, which: int, window: Window) -> bool:
        """Whether it is known that nothing counts in a window, less the snapshot `seq`."""
        return self.nothing_since[which] <= window.first_seq


class Windows:
    """The tallies of some correlations, of all hosts."""

    def __init__(self, counting: Sequence[Counting]) -> None:
        self._counting = counting
        self._timespans = {each.timespan for each in counting}
        self._of_packed = {each.timespan for each in counting if each.wanted.category.packed}
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

    def forget(self) -> None:
        """Begins anew with every host."""
        self._hosts.clear()

    def take_over(self, before: Windows) -> None:
        """Goes on with what `before`, which is not used any more, remembers of correlations that both have."""
        known = {each.meaning: which for which, each in enumerate(before._counting)}
        same = {which: known[each.meaning] for which, each in enumerate(self._counting) if each.meaning in known}
        numbers = range(len(self._counting))
        for host_id, host in before._hosts.items():
            self._hosts[host_id] = _Host(
                host.seq,
                host.windows,
                rows=[host.rows[same[which]] if which in same else () for which in numbers],
                entries=[host.entries[same[which]] if which in same else () for which in numbers],
                tallies={which: host.tallies[old] for which, old in same.items() if old in host.tallies},
                behind={which: host.behind[old] for which, old in same.items() if old in host.behind},
                # What the present rows are of the other ones nobody has looked at.
                nothing_since={
                    which: host.nothing_since.get(same[which], host.seq + 1) if which in same else host.seq + 1
                    for which in numbers
                },
            )

    def passing(
        self, connection: Connection, snapshot: SnapshotRef, rows: Sequence[Sequence[Sequence[Any]]]
    ) -> list[Passing]:
        """For each correlation what passes with its `rows` of `snapshot`."""
        if not self._counting:
            return []
        windows = {timespan: read_window(connection, snapshot, timespan) for timespan in self._timespans}
        entries = [each.entries(found) for each, found in zip(self._counting, rows, strict=True)]
        host = self._brought_up(connection, snapshot, windows, rows, entries)
        self._hosts[snapshot.host_id] = host
        self._begin_empty(host, windows)
        for timespan, window in windows.items():
            self._read_long(connection, host, timespan, window)
        found: list[Passing] = []
        for which, counting in enumerate(self._counting):
            window, groups = windows[counting.timespan], set[int]()
            lasting = _lasts(counting)
            if entries[which]:
                tally = host.tallies.get(which)
                if tally is None:
                    tally = _read(connection, counting, snapshot, window)
                    if lasting:
                        host.tallies[which] = tally
                groups = tally.passing(window.first_seq, snapshot.seq, entries[which])
            found.append(Passing(window, groups, host.behind.setdefault(which, {}) if lasting else {}))
        if sum(tally.size for tally in host.tallies.values()) > _MOST_ENTRIES:
            del self._hosts[snapshot.host_id]
        return found

    def _brought_up(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        windows: Mapping[timedelta, Window],
        rows: Sequence[Sequence[Sequence[Any]]],
        entries: Sequence[Sequence[Entry]],
    ) -> _Host:
        """The host's tallies, less those that cannot be brought up to `snapshot` and have to be made anew."""
        host = self._hosts.get(snapshot.host_id)
        if host is None or not host.seq <= snapshot.seq or self._gone(connection, snapshot, host):
            nothing_since = dict.fromkeys(range(len(self._counting)), snapshot.seq)
            return _Host(snapshot.seq, windows, rows, entries, nothing_since=nothing_since)
        if host.seq == snapshot.seq:
            # Whoever looked at it before may have been rolled back, or looks again: nothing of it is taken in yet.
            host.rows, host.entries = rows, entries
            return host
        for which, some in enumerate(host.entries):
            if (tally := host.tallies.get(which)) is not None:
                tally.add(host.seq, some)
            if some:
                host.nothing_since[which] = host.seq + 1
        _keep_up(host)
        if snapshot.seq - host.seq > 1:
            self._enter(connection, snapshot.host_id, host, (host.seq + 1, snapshot.seq - 1))
        for timespan, window in windows.items():
            self._leave(connection, snapshot.host_id, host, timespan, window)
        host.seq, host.windows, host.rows, host.entries = snapshot.seq, windows, rows, entries
        return host

    def _begin_empty(self, host: _Host, windows: Mapping[timedelta, Window]) -> None:
        """Gives empty tallies to correlations that something counts for now, and nothing had in all of their window."""
        for which, counting in enumerate(self._counting):
            new = host.entries[which] and which not in host.tallies
            if new and _lasts(counting) and host.is_empty(which, windows[counting.timespan]):
                host.tallies[which] = counting.tally()

    def _read_long(self, connection: Connection, host: _Host, timespan: timedelta, window: Window) -> None:
        """Reads a long window for all correlations that can share the reading, once one of them needs it."""
        missing = {
            which: each.shared
            for which, each in enumerate(self._counting)
            if each.timespan == timespan and each.shared is not None
            if which not in host.tallies and not host.is_empty(which, window)
        }
        is_long = window.unbroken and host.seq - window.first_seq >= LONG
        if not is_long or not any(host.entries[which] for which in missing):
            return
        # Those of one kind of events.
        ((fold, _), *_) = missing.values()
        with fold.filled(connection, dict(window.place) | {"seq": host.seq - 1}):
            for which, (_, history) in missing.items():
                counting = self._counting[which]
                tally = host.tallies[which] = counting.tally()
                _take_in(tally, counting, connection.execute(history))

    def _gone(self, connection: Connection, snapshot: SnapshotRef, host: _Host) -> bool:
        """Whether rows that have to leave are not there any more: another process was here meanwhile, or the database
        had no room."""
        of_host = {"host_id": snapshot.host_id}
        recent = connection.scalar(_RECENT, of_host) or 0
        late = {timespan for timespan, window in host.windows.items() if window.first_seq < recent} & self._of_packed
        if not host.tallies or not late:
            return False
        kept = {row.back_seconds: row.first_seq for row in connection.execute(_KEPT, of_host)}
        return any(kept.get(each // _SECOND, recent) > host.windows[each].first_seq for each in late)

    def _enter(self, connection: Connection, host_id: int, host: _Host, span: tuple[int, int]) -> None:
        """Takes in what another process has looked at."""
        host.behind.clear()
        found = self._entering.rows_of_span(connection, host_id, span)
        for which, tally in host.tallies.items():
            _take_in(tally, self._counting[which], found[which])
        for which, rows in enumerate(found):
            if rows:
                host.nothing_since[which] = span[1] + 1

    def _leave(self, connection: Connection, host_id: int, host: _Host, timespan: timedelta, window: Window) -> None:
        before = host.windows.get(timespan)
        left = None if before is None else left_between(connection, host.seq, before, window)
        if left is None:
            # The clock was set back. Whatever it is, it can be counted anew.
            for which, counting in enumerate(self._counting):
                if counting.timespan == timespan:
                    host.tallies.pop(which, None)
                    host.behind.pop(which, None)
        elif timespan in self._leaving:
            several, sieve = self._leaving[timespan]
            for span in left:
                found = sieve.rows_of_span(connection, host_id, span)
                for which, rows in zip(several, found, strict=True):
                    if (tally := host.tallies.get(which)) is not None:
                        tally.remove(self._counting[which].entries(rows))


def _lasts(counting: Counting) -> bool:
    """Whether rows stay what they are."""
    return not counting.wanted.category.rows.change


def _read(connection: Connection, counting: Counting, snapshot: SnapshotRef, window: Window) -> Tally:
    """A tally of a window, less its last snapshot."""
    tally = counting.tally()
    before = dict(window.place) | {"seq": snapshot.seq - 1}
    _take_in(tally, counting, connection.execute(counting.history(unbroken=window.unbroken), before))
    return tally


def _take_in(tally: Tally, counting: Counting, rows: Iterable[Sequence[Any]]) -> None:
    """Takes rows in, which are in the order of their snapshots."""
    for seq, some in groupby(rows, key=itemgetter(0)):
        tally.add(seq, counting.entries(some))


def _keep_up(host: _Host) -> None:
    """Puts the rows of the host's last snapshot to those behind groups that are known."""
    for which, behind in host.behind.items():
        if behind:
            for row, (group, _) in zip(host.rows[which], host.entries[which], strict=True):
                if group in behind:
                    behind[group].extend(row[:PLACE])
    if sum(len(places) for behind in host.behind.values() for places in behind.values()) > PLACE * _MOST_ROWS:
        host.behind.clear()
