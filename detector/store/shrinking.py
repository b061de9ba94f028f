"""Keeps the database within its size: the oldest goes first, however young it is.

Snapshots go down to what rules look at and what is not added up yet; then hours; what only alerts and models remember
of destinations that were met once; days; and, if all of that is not enough, snapshots that rules look at, and at last
those that detection has not seen. These are counted as lost.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detector.store import expiry, old_alerts, old_parts, sizes, subjects, summaries
from detector.store.engine import reading
from detector.store.retention import BLOCKS_AT_ONCE
from detector.store.tables import daily_counts, hourly_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Row, Table

    from detector.store.expiry import HostState
    from detector.store.retention import Done, Retention

# By so much of the time that is left each round cuts off.
_CUT = 4
_LEAST_CUT = timedelta(minutes=10)
_LEAST_SINCE_MET = timedelta(minutes=1)
_PAGES = 500
# The sums of alerts that still grow are made of their values.
_GROWS = timedelta(days=1)


class Shrinking:
    """Deletes what has to go for the size of the database, in steps like those of `Retention`."""

    def __init__(self, retention: Retention) -> None:
        self._steps, self._kept, self._engine = retention, retention.kept, retention.engine
        # Up to here roll-ups were cut off: nothing older is looked for.
        self._cut: dict[tuple[str, int], datetime] = {}

    @property
    def has_to(self) -> bool:
        """Whether the database is too large.

        Raises:
            StoreError: it is away.
        """
        return bool(self._kept.most_bytes) and self._used() > self._kept.begins_at

    def shrink(self, now: datetime, done: Done) -> Iterator[None]:
        """Deletes until the database is as small as it is to be, or nothing is left to delete.

        Raises:
            StoreError: the database is away.
        """
        ways = (self._done_with, self._hours, self._remembered, self._days, self._looked_at, self._not_seen)
        while self._used() > self._kept.enough:
            before = done.amount
            for way in ways:
                yield from way(now, done)
                if done.amount > before:
                    break
            else:
                done.full = True
                break
            if self._steps.parted:
                # Until then what was deleted does not count as free.
                yield from self.compact()
        yield from self.compact()

    def compact(self) -> Iterator[None]:
        """Makes room that is free usable, or gives it back.

        Raises:
            StoreError: the database is away.
        """
        if self._steps.parted:
            sizes.vacuum_deleted(self._engine)
            yield
            return
        while sizes.give_back(self._engine, _PAGES):
            yield
        sizes.shorten_log(self._engine)

    # --- what goes first --------------------------------------------------------------------------------------------

    def _done_with(self, now: datetime, done: Done) -> Iterator[None]:
        """Snapshots that are added up and that rules look at no more."""
        yield from self._oldest(now, done, lambda state: state.done_with)

    def _hours(self, now: datetime, done: Done) -> Iterator[None]:
        yield from self._cut_off(hourly_counts, now, done)

    def _remembered(self, now: datetime, done: Done) -> Iterator[None]:
        """Of destinations that were met once: by alerts, as rows that cannot be shown any more, and by the models."""
        for state in self._steps.hosts():
            before = done.amount
            yield from self._of_alerts(state, now, done)
            older = min(self._kept.snapshots, subjects.observed(self._engine, state.host_id) / _CUT)
            while done.amount == before and older > _LEAST_SINCE_MET:
                yield from self._subjects(state, older, done)
                older /= _CUT
            yield from self._steps.unreferenced(state, done)

    def _days(self, now: datetime, done: Done) -> Iterator[None]:
        yield from self._cut_off(daily_counts, now, done)

    def _looked_at(self, now: datetime, done: Done) -> Iterator[None]:
        """Snapshots that were seen, though rules look at them, or they are not added up."""
        yield from self._oldest(now, done, lambda state: min(state.seen, state.newest - 1), keys_too=True)

    def _not_seen(self, now: datetime, done: Done) -> Iterator[None]:
        """All snapshots but the newest."""
        yield from self._oldest(now, done, lambda state: state.newest - 1, keys_too=True)

    # --- how --------------------------------------------------------------------------------------------------------

    def _oldest(
        self, now: datetime, done: Done, upto: Callable[[HostState], int], *, keys_too: bool = False
    ) -> Iterator[None]:
        """Deletes snapshots of whichever host has the oldest, until it is enough or none may go."""
        # A part that is dropped says nothing of what was in it.
        if self._steps.parted and not keys_too and self._drop_oldest_day(now, done, upto):
            yield
            return
        while self._used() > self._kept.enough:
            able = [(oldest, state) for state in self._steps.hosts() if (oldest := self._oldest_of(state, upto(state)))]
            if not able:
                return
            oldest, state = min(able, key=lambda each: each[0].end)
            # Keys take longer to look through: some snapshots at a time.
            until = oldest.seq + (upto(state) - oldest.seq) // _CUT if keys_too else upto(state)
            while gone := self._steps.expire(state, None, until, done):
                yield
                if not keys_too:
                    break
            if keys_too:
                yield from self._steps.unreferenced(state, done)
            if self._steps.parted or not (gone or keys_too):
                # What was deleted counts as free when the table has been looked at.
                return

    def _drop_oldest_day(self, now: datetime, done: Done, upto: Callable[[HostState], int]) -> bool:
        with reading(self._engine) as connection:
            days = old_parts.days_done_with(connection, now, upto)
        if not days or (waits := old_parts.drop_day(self._engine, days[0])):
            done.waits = waits if days else ""
            return False
        done.parts.append(days[0].name)
        return True

    def _cut_off(self, table: Table, now: datetime, done: Done) -> Iterator[None]:
        """Deletes the oldest quarter of the time that a roll-up goes back."""
        if self._steps.parted and self._drop_oldest_part(table, now, done):
            yield
            return
        for state in self._steps.hosts():
            place = (table.name, state.host_id)
            first = summaries.first_start(self._engine, table, state.host_id)
            if first is not None:
                first = max(first, self._cut.get(place, first))
            before = done.amount
            while first is not None and first < now and done.amount == before:
                left = (now - first) / _CUT
                first = now if left < _LEAST_CUT else first + left
                self._cut[place] = first
                yield from self._steps.sweep(table, state, first, done)
            if done.amount > before:
                yield from self._steps.unreferenced(state, done)
            else:
                # There is nothing at all; what comes is younger.
                self._cut.pop(place, None)

    def _drop_oldest_part(self, table: Table, now: datetime, done: Done) -> bool:
        with reading(self._engine) as connection:
            parts = old_parts.ended(connection, table.name, now)
        if not parts or (waits := old_parts.drop(self._engine, table.name, parts[0])):
            done.waits = waits if parts else ""
            return False
        done.parts.append(parts[0].name)
        return True

    def _of_alerts(self, state: HostState, now: datetime, done: Done) -> Iterator[None]:
        def places(size: int) -> int:
            return old_alerts.evidence_without_rows(self._engine, state.host_id, limit=size)

        def values(size: int) -> int:
            return old_alerts.values_of_old(self._engine, state.host_id, before=now - _GROWS, limit=size)

        for name, step in (("places of rows behind alerts", places), ("values of alerts", values)):
            while gone := self._steps.pace.run(name, step):
                done.deleted[name] += gone
                yield

    def _subjects(self, state: HostState, older: timedelta, done: Done) -> Iterator[None]:
        after: int | None = -1
        while after is not None:
            gone, after = subjects.forget_met_once(
                self._engine, state.host_id, older=older, after=after, limit=BLOCKS_AT_ONCE
            )
            done.deleted["destinations met once"] += gone
            yield

    def _oldest_of(self, state: HostState, upto: int) -> Row[int, datetime] | None:
        """The oldest snapshot of a host, if it may go."""
        with reading(self._engine) as connection:
            found = expiry.oldest(connection, state.host_id)
        return found if found is not None and found.seq <= min(upto, state.newest - 1) else None

    def _used(self) -> int:
        return sizes.used(self._engine, unless_below=self._kept.enough)
