"""Which numbers of keys, origins and names a filter means on a host, looked up once for all rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.store import bulk
from detector.store.filters import key_conditions, like, within
from detector.store.tables import connection_keys, destination_names, login_origins

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.filters import HistoryFilter
    from detector.store.packed import PackedSnapshot


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a row of a host has to be, in numbers, which are looked up once for all rows; None: anything."""

    host_id: int
    keys: frozenset[int] | None
    origins: frozenset[int] | None
    names: frozenset[int] | None
    outcome: str | None
    min_score: float | None
    since: datetime | None
    until: datetime | None

    @classmethod
    def by(
        cls, connection: Connection, host_id: int, wanted: HistoryFilter, *conditions: ColumnElement[bool]
    ) -> Chosen:
        """What a filter means on a host; `conditions` are more of them on `connection_keys`."""
        dialect = connection.dialect.name

        def numbers(table: Table, name: str, conditions: Sequence[ColumnElement[bool]]) -> frozenset[int] | None:
            if not conditions:
                return None
            chosen = select(table.c[name]).where(table.c.host_id == host_id, *conditions)
            return frozenset(connection.scalars(chosen).all())

        origins, names = login_origins.c, destination_names.c
        of_origin, of_name = [], []
        if wanted.login_addresses is not None:
            of_origin.append(within(origins.login_address, wanted.login_addresses))
        if wanted.remote_name is not None:
            of_name.append(like(func.lower(names.remote_name), wanted.remote_name.lower(), dialect))
        return cls(
            host_id=host_id,
            keys=numbers(connection_keys, "key_id", [*key_conditions(wanted, dialect), *conditions]),
            origins=numbers(login_origins, "origin_id", of_origin),
            names=numbers(destination_names, "name_id", of_name),
            outcome=wanted.outcome.value if wanted.outcome else None,
            min_score=wanted.min_score,
            since=wanted.since,
            until=wanted.until,
        )

    @property
    def nothing(self) -> bool:
        """Whether there is no such row."""
        return any(numbers is not None and not numbers for numbers in (self.keys, self.origins, self.names))

    @property
    def exact(self) -> bool:
        """Whether sums over time can tell: not how many of an hour's snapshots had an outcome, or a score."""
        return self.outcome is None and self.min_score is None

    def may_have(self, keys: Iterable[int]) -> bool:
        """Whether one of these keys is wanted."""
        return self.keys is None or not self.keys.isdisjoint(keys)

    def in_period(self, end: datetime) -> bool:
        """Whether a snapshot that ended then is wanted."""
        return (self.since is None or end > self.since) and (self.until is None or end <= self.until)

    def named(self, snapshot: PackedSnapshot) -> list[int]:
        """The rows of a snapshot of the right keys, origins and names, whatever they counted."""
        rows: Iterable[int] = range(snapshot.rows)
        for name, numbers in (("key_id", self.keys), ("origin_id", self.origins), ("name_id", self.names)):
            if numbers is not None:
                values = snapshot.counts[name]
                rows = [row for row in rows if values[row] in numbers]
        return list(rows)

    def rows(self, snapshot: PackedSnapshot) -> list[int]:
        """The numbers of a snapshot's rows that are so; of the period nothing is asked."""
        return self.counted(snapshot, self.named(snapshot))

    def counted(self, snapshot: PackedSnapshot, rows: list[int]) -> list[int]:
        """Those of `rows` that had such an outcome, and such a score."""
        if self.outcome is not None:
            counts = snapshot.counts[self.outcome]
            rows = [row for row in rows if counts[row]]
        if self.min_score is not None:
            if (observed := snapshot.observations) is None:
                return []
            least = self.min_score
            rows = [row for row in rows if (score := observed.score(row)) is not None and score >= least]
        return rows

    def rolled(self, connection: Connection, table: Table, *, counted: bool = True) -> list[ColumnElement[bool]]:
        """The conditions on a table of roll-ups; of the period nothing is asked.

        Args:
            connection: the transaction.
            table: `hourly_counts` or `daily_counts`.
            counted: whether what was counted matters too: that some snapshot of the period had such an outcome.
        """
        columns = table.c
        among = partial(bulk.among, connection)
        conditions = [columns.host_id == self.host_id]
        if self.keys is not None:
            conditions.append(among(columns.key_id, self.keys))
        if self.origins is not None:
            conditions.append(among(columns.origin_id, self.origins))
        if self.names is not None:
            conditions.append(among(columns.name_id, self.names))
        if counted and self.outcome is not None:
            conditions.append(columns[self.outcome] > 0)
        if counted and self.min_score is not None:
            conditions.append(columns.peak_score >= self.min_score)
        return conditions
