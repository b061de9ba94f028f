"""Parts by time of the tables that grow with it, on Postgres: what has expired is dropped, and not deleted.

SQLite has no such thing: there is one bastion's data in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

REST = "_rest"
"""Ends the name of the part for what no other one is for: what was there before there were parts, imported logs, and
what a clock that is wrong says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """A table in parts."""

    name: str
    days: int
    """How long a part is; parts begin at multiples of it since 1970."""

    def part(self, moment: datetime) -> tuple[str, datetime, datetime]:
        """The name, the start and the end of the part that a moment falls into."""
        number = (moment - _EPOCH) // timedelta(days=self.days)
        start = _EPOCH + timedelta(days=number * self.days)
        return f"{self.name}_{start:%Y%m%d}", start, start + timedelta(days=self.days)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARTED = (
    Parted(name="snapshots", days=1),
    Parted(name="packed_counts", days=1),
    Parted(name="packed_observations", days=1),
    Parted(name="hourly_counts", days=7),
    Parted(name="daily_counts", days=28),
)
# A worker that is away for this long finds the parts that it needs all the same.
_AHEAD = timedelta(days=7)


def parts_of(connection: Connection, table: str) -> Iterator[tuple[str, datetime]]:
    """The parts of a table and their ends, the oldest first; less the rest."""
    found = connection.scalars(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:name AS regclass)"),
        {"name": table},
    )
    (parted,) = (each for each in PARTED if each.name == table)
    starts = sorted(name.removeprefix(f"{table}_") for name in found if not name.endswith(REST))
    for start in starts:
        begins = datetime.strptime(start, "%Y%m%d").replace(tzinfo=UTC)
        yield f"{table}_{start}", begins + timedelta(days=parted.days)
