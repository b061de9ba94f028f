"""Parts by time of the tables that grow with it, on Postgres: what has expired is dropped, and not deleted.

SQLite has no such thing: there is one bastion's data in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

REST = "_rest"
"""Ends the name of the part for what no other one is for: what was there before there were parts, imported logs, and
what a clock that is wrong says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """A table in parts."""

    name: str
    column: str
    """The time by which it is."""
    days: int
    """How long a part is; parts begin at multiples of it since 1970."""

    def part(self, moment: datetime) -> Part:
        """The part that a moment falls into."""
        number = (moment - _EPOCH) // timedelta(days=self.days)
        start = _EPOCH + timedelta(days=number * self.days)
        return Part(f"{self.name}_{start:%Y%m%d}", start, start + timedelta(days=self.days))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table: all from `start` up to `end`."""

    name: str
    start: datetime
    end: datetime


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARTED = (
    Parted(name="snapshots", column="end", days=1),
    Parted(name="packed_counts", column="end", days=1),
    Parted(name="packed_observations", column="end", days=1),
    Parted(name="hourly_counts", column="start", days=7),
    Parted(name="daily_counts", column="start", days=28),
)
OF_SNAPSHOTS = ("packed_observations", "packed_counts", "snapshots")
"""What is dropped together, in this order: a snapshot without counts is none that lost them."""
# A worker that is away for this long finds the parts that it needs all the same.
_AHEAD = timedelta(days=7)
# Adding and dropping a part needs the table for itself for a moment. Whoever waits for that holds up all who come after
# it, a collector's next snapshot too: it gives up soon, and comes again.
_PATIENCE_MS, _LONGEST_MS = 1000, 10_000


def parts_of(connection: Connection, table: str) -> list[Part]:
    """The parts of a table, the oldest first; less the rest."""
    found = connection.scalars(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = CAST(:name AS regclass)"
        ),
        {"name": table},
    )
    return sorted(_parts(table, found), key=lambda part: part.start)


def _parts(table: str, names: Iterable[str]) -> Iterator[Part]:
    parted = named(table)
    for name in names:
        try:
            start = datetime.strptime(name.removeprefix(f"{table}_"), "%Y%m%d").replace(tzinfo=UTC)
        except ValueError:
            # The rest, or what somebody else has attached.
            continue
        yield Part(name, start, start + timedelta(days=parted.days))


def named(table: str) -> Parted:
    """How a table is parted."""
    (parted,) = (each for each in PARTED if each.name == table)
    return parted


def missing(connection: Connection, now: datetime) -> list[tuple[Parted, Part]]:
    """The parts from now up to a week ahead that are not there and whose time has no rows in the rest.

    Rows that are there already would have to be moved, with the table locked: they expire where they are. Of tables
    that somebody divides otherwise none is missing.
    """
    wanted = []
    for parted in PARTED:
        if not _is_parted(connection, parted.name):
            continue
        there = {part.name for part in parts_of(connection, parted.name)}
        moment = now
        while moment <= now + _AHEAD + timedelta(days=parted.days):
            part = parted.part(moment)
            if part.name not in there and not _in_rest(connection, parted, part):
                wanted.append((parted, part))
            moment = part.end
    return wanted


def _is_parted(connection: Connection, table: str) -> bool:
    """Whether it is in parts of Postgres' own: extensions divide tables in ways of theirs."""
    kind = text("SELECT relkind = 'p' FROM pg_class WHERE oid = CAST(:name AS regclass)")
    return bool(connection.scalar(kind, {"name": table}))


def _in_rest(connection: Connection, parted: Parted, part: Part) -> bool:
    found = connection.scalar(
        text(
            f'SELECT EXISTS (SELECT 1 FROM {parted.name}{REST} WHERE "{parted.column}" >= :start'
            f' AND "{parted.column}" < :end)'
        ),
        {"start": part.start, "end": part.end},
    )
    return bool(found)


def hurry(connection: Connection) -> None:
    """Lets a transaction give up soon that needs a table for itself."""
    connection.execute(text(f"SET LOCAL lock_timeout = {_PATIENCE_MS}"))
    connection.execute(text(f"SET LOCAL statement_timeout = {_LONGEST_MS}"))
