"""What has expired goes, in steps so short that they hold nobody up: by age here, by size in `shrinking`.

Snapshots go when they are added up and have become old, then what was added up by hour and by day, then keys, origins
and names that nothing refers to any more; and alerts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

from detector.store import (
    alert_silences,
    expiry,
    held,
    notices,
    old_alerts,
    old_parts,
    remembered,
    rule_faults,
    silence,
    subjects,
    summaries,
    tampering,
)
from detector.store.engine import reading, relaxed, writing
from detector.store.references import Unreferenced
from detector.store.tables import daily_counts, hourly_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Engine, Table

    from detector.store.expiry import HostState

# What a transaction may take, so that a collector that waits for it is not held up.
_STEP_SECONDS = 0.04
_FEWEST, _FIRST, MOST_AT_ONCE = 10, 100, 2000
# Of up to eight subjects each.
BLOCKS_AT_ONCE = MOST_AT_ONCE // 8
# Begun before the database is full: one snapshot of a scan takes up to 30 MB.
_SPARE, _SPARE_BYTES = 10, 32 << 20
# What is done once a year is known to the models, however short other things are kept.
_LEAST_KNOWN = timedelta(days=400)
SNAPSHOTS, KEYS, ALERT_ROWS, DESTINATIONS = "snapshots", "keys", "rows of alerts", "destinations of the models"
"""What is deleted, as `Done` calls it, beside the tables of roll-ups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long things are kept, and in how many bytes."""

    snapshots: timedelta
    hours: timedelta
    days: timedelta
    alerts: timedelta
    most_bytes: int = 0
    """0: there is no limit."""
    leaves_gaps: bool = False
    """Whether rows that are deleted leave room in the files of which not all is used again, as on Postgres."""

    @property
    def begins_at(self) -> int:
        """So large the database may become before something has to go."""
        begins_at = self.most_bytes - max(self.most_bytes // _SPARE, min(_SPARE_BYTES, self.most_bytes // 3))
        return begins_at * 4 // 5 if self.leaves_gaps else begins_at

    @property
    def enough(self) -> int:
        """What has to go goes until it is so small: then there is peace for a while."""
        return self.begins_at - self.begins_at // 20


@dataclass(slots=True)
class Done:
    """What was deleted, by what it is called, and what else is worth a word."""

    deleted: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    """Snapshots that detection had not seen, by host."""
    parts: list[str] = field(default_factory=list)
    """Dropped."""
    waits: str = ""
    """Why something could not be done now."""
    full: bool = False
    """There was nothing left to delete, and still too much of it."""

    @property
    def amount(self) -> int:
        """Grows with everything that is deleted."""
        return sum(self.deleted.values()) + len(self.parts)


class Pace:
    """How many at a time, so that a step takes as long as it may."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def run(self, kind: str, step: Callable[[int], int]) -> int:
        """Takes a step with as many as seem right; returns what it returns."""
        size = self._sizes.get(kind, _FIRST)
        began = monotonic()
        done = step(size)
        took = monotonic() - began
        if took > _STEP_SECONDS:
            self._sizes[kind] = max(size // 2, _FEWEST)
        elif took < _STEP_SECONDS / 2:
            self._sizes[kind] = min(size * 2, MOST_AT_ONCE)
        return done


class Retention:
    """Deletes what has expired by age. Each method is a row of steps, of which whoever iterates takes one at a time."""

    def __init__(self, engine: Engine, kept: Kept) -> None:
        self.engine, self.kept, self.pace = relaxed(engine), kept, Pace()
        self.parted = engine.dialect.name == "postgresql"

    def by_age(self, now: datetime, done: Done) -> Iterator[None]:
        """Snapshots and alerts; to be done often, since it looks only at the oldest.

        Raises:
            StoreError: the database is away.
        """
        before = now - self.kept.snapshots
        if self.parted:
            yield from self._drop_days(before, done)
            # The rest is deleted; what is in a part waits until all of the part can go.
            before = old_parts.begin_of_day(before)
        for state in self.hosts():
            with reading(self.engine) as connection:
                if expiry.kept_as_imported(connection, state.host_id, before):
                    continue
            while self.expire(state, before, state.added_up, done):
                yield
            yield from self._forget_rows(state)
        while gone := self.pace.run(
            "alerts", lambda size: old_alerts.expire(self.engine, before=now - self.kept.alerts, limit=size)
        ):
            done.deleted[ALERT_ROWS] += gone
            yield

    def thoroughly(self, now: datetime, done: Done) -> Iterator[None]:
        """Old roll-ups, and what nothing refers to any more; to be done seldom, since it looks at all that there is.

        Raises:
            StoreError: the database is away.
        """
        for table, kept in ((hourly_counts, self.kept.hours), (daily_counts, self.kept.days)):
            before = now - kept
            if self.parted:
                yield from self._drop_roll_ups(table, before, done)
                before = old_parts.begin_of_part(table.name, before)
            for state in self.hosts():
                yield from self.sweep(table, state, before, done)
        before = now - self.kept.alerts
        while gone := self.pace.run(
            "findings", lambda size: old_alerts.found_by_lasting(self.engine, before=before, limit=size)
        ):
            done.deleted[ALERT_ROWS] += gone
            yield
        for state in self.hosts():
            yield from self.unreferenced(state, done, names_too=True)
            yield from self._forget_unused(state)
            yield from self._forget_not_met(state, done)
        with writing(self.engine) as connection:
            for kind in (silence, held, rule_faults, tampering, alert_silences, notices):
                kind.forget(connection, before=now - self.kept.alerts)

    def expire(self, state: HostState, before: datetime | None, upto: int, done: Done) -> int:
        """One step: see `expiry.expire`."""

        def some(size: int) -> int:
            gone = expiry.expire(self.engine, state, before=before, upto=upto, limit=max(size // 10, 1))
            if gone.unseen:
                done.unseen[state.host] += gone.unseen
            return gone.snapshots

        number = self.pace.run(SNAPSHOTS, some)
        done.deleted[SNAPSHOTS] += number
        return number

    def _forget_rows(self, state: HostState) -> Iterator[None]:
        while self.pace.run("rows", lambda size: expiry.forget_rows(self.engine, state.host_id, limit=size)):
            yield

    def _forget_unused(self, state: HostState) -> Iterator[None]:
        while self.pace.run("terms", lambda size: remembered.forget_unused(self.engine, state.host_id, limit=size)):
            yield

    def _forget_not_met(self, state: HostState, done: Done) -> Iterator[None]:
        """What the models know of destinations that days, which are kept for longest, do not know any more."""
        older = max(self.kept.days, _LEAST_KNOWN)
        if subjects.observed(self.engine, state.host_id) < older:
            return
        after: int | None = -1
        while after is not None:
            gone, after = subjects.forget_not_met(
                self.engine, state.host_id, older=older, after=after, limit=BLOCKS_AT_ONCE
            )
            done.deleted[DESTINATIONS] += gone
            yield

    def sweep(self, table: Table, state: HostState, before: datetime, done: Done) -> Iterator[None]:
        """Deletes what a host has in a roll-up from before a moment."""
        after: int | None = 0
        while after is not None:
            swept: list[summaries.Swept] = []

            def some(size: int, after: int = after, swept: list[summaries.Swept] = swept) -> int:
                swept.append(summaries.sweep(self.engine, table, state.host_id, before=before, after=after, keys=size))
                return swept[-1].deleted

            done.deleted[table.name] += self.pace.run(table.name, some)
            after = swept[-1].after
            yield

    def unreferenced(self, state: HostState, done: Done, *, names_too: bool = False) -> Iterator[None]:
        """Deletes what nothing of a host refers to."""
        for deleted in Unreferenced(self.engine, state.host_id).steps(names_too=names_too):
            done.deleted[KEYS] += deleted
            yield

    def hosts(self) -> list[HostState]:
        """Where they stand now."""
        with reading(self.engine) as connection:
            return expiry.host_states(connection)

    def _drop_days(self, before: datetime, done: Done) -> Iterator[None]:
        with reading(self.engine) as connection:
            days = old_parts.days_done_with(connection, before, lambda state: state.added_up, kept_since=before)
        for day in days:
            _note(old_parts.drop_day(self.engine, day), day.name, done)
            yield

    def _drop_roll_ups(self, table: Table, before: datetime, done: Done) -> Iterator[None]:
        with reading(self.engine) as connection:
            parts = old_parts.ended(connection, table.name, before)
        for part in parts:
            _note(old_parts.drop(self.engine, table.name, part), part.name, done)
            yield


def _note(waits: str, name: str, done: Done) -> None:
    if waits:
        done.waits = waits
    else:
        done.parts.append(name)
