"""Finds the groups of a correlation that pass over a window, and the rows behind them."""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from functools import reduce
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, bindparam, case, func, literal_column, select

from detector.domain import EvidenceRef
from detector.ruleset.bounds import Rules
from detector.ruleset.conditions import Matching
from detector.ruleset.correlation import TEMPORAL
from detector.ruleset.fields import group_of
from detector.ruleset.matchers import Match
from detector.ruleset.sieve import Wanted, plain
from detector.ruleset.tallies import NO_VALUE, OrderedStages, Stages, Sums, Values
from detector.store.columns import Address, unpacked
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection, Select

    from detector.domain import Scalar, SnapshotRef
    from detector.ruleset.correlation import Correlation
    from detector.ruleset.events import Category
    from detector.ruleset.tallies import Entry, Tally
    from detector.ruleset.windows import Window

MOST_ROWS = 10_000
"""So many of the newest rows of its window a finding names at least, and all of the snapshot at hand."""

# DestinationPort is two things: the remote port when outbound, the local one when inbound.
_TWO_THINGS = "remote_port"
# Of so many groups the rows are asked for one by one; of more, all rows of the rule are gone through once.
_FEW_GROUPS = 8
_MOST = bindparam("most", type_=BigInteger)


class CorrelationMatcher:
    """A correlation: groups that pass over a window and that the current snapshot adds to."""

    def __init__(self, category: Category, correlation: Correlation, bases: Sequence[Matching]) -> None:
        """`bases` are what the rules match that it counts, in their order."""
        self._correlation = correlation
        self._fields = correlation.group_by
        self.timespan: timedelta = correlation.timespan
        """How far back the window goes."""
        self._directed = any(field.word == _TWO_THINGS for field in self._fields)
        self._matching = Matching.any_of(bases)
        self._rows = category.rows
        self._columns: list[ColumnElement[Any]] = [field.expression for field in self._fields]
        if self._directed:
            self._columns.append(category.direction)
        self._number = self._counted(bases)
        self.wanted = Wanted(category, self._matching, (self._number, *self._columns))
        self._history = {each: self._summed(within) for each, within in self._within()}
        self._all_evidence = {each: self._evidence(within) for each, within in self._within()}
        same = (
            column.is_not_distinct_from(bindparam(f"group_{index}", type_=column.type))
            for index, column in enumerate(self._columns)
        )
        conditions = list(same)
        self._group_evidence = {
            each: statement.where(*conditions).limit(_MOST) for each, statement in self._all_evidence.items()
        }

    def tally(self) -> Tally:
        """An empty one for what it counts."""
        kind, passes = self._correlation.type, self._correlation.passes
        number = len(self._correlation.rules)
        if kind == "temporal_ordered":
            return OrderedStages(number)
        if isinstance(passes, Rules):
            return Stages(number, passes.holds)
        if kind == "temporal":
            return Stages(number, lambda matched: sum(matched) in passes)
        return Values(passes) if kind == "value_count" else Sums(passes)

    def entries(self, rows: Iterable[Sequence[Any]]) -> list[Entry]:
        """What rows of `wanted` count."""
        if self._correlation.type != "value_count":
            # Postgres adds BIGINTs up to a NUMERIC.
            return [(hash(tuple(group)), int(number)) for number, *group in rows]
        return [(hash(tuple(group)), NO_VALUE if value is None else hash((value, *group))) for value, *group in rows]

    def history(self, *, unbroken: bool) -> Select[Any]:
        """What the rows of a window add up to, in the columns of `wanted`, after the number of a snapshot."""
        return self._history[unbroken]

    def matches(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        rows: Sequence[tuple[Any, ...]],
        window: Window,
        passing: set[int],
    ) -> Iterator[Match]:
        """A match for each of the `passing` groups of the `rows` of `snapshot`, with the rows of `window` behind it."""
        groups = Counter(group for _, *values in rows if hash(group := tuple(values)) in passing)
        if not groups:
            return
        behind = self._behind(connection, window, groups)
        starts = _starts(connection, snapshot, window, behind.values())
        for group, rows_behind in behind.items():
            found = sorted(rows_behind)
            yield Match(
                group=self._group(group),
                start=min(starts[seq] for seq, _, _ in found if seq in starts),
                end=snapshot.end,
                evidence=tuple(EvidenceRef(seq=seq, key_id=key_id, session=session) for seq, key_id, session in found),
            )

    def _counted(self, bases: Sequence[Matching]) -> ColumnElement[Any]:
        """How much a row counts, the value that it has, or which rules match it, a bit for each."""
        if self._correlation.type in TEMPORAL:
            bits: Iterator[ColumnElement[Any]] = (
                case((each.rows, literal_column(str(1 << bit), BigInteger)), else_=literal_column("0", BigInteger))
                for bit, each in enumerate(bases)
            )
            return reduce(operator.add, bits)
        counted = self._correlation.counted
        return self._matching.weight if counted is None else counted.expression

    def _within(self) -> Iterator[tuple[bool, ColumnElement[bool]]]:
        # By whether the numbers of the snapshots are enough to find them: by the times as well, Postgres looks through
        # the window for each row.
        yield True, self._rows.in_span
        yield False, self._rows.in_window

    def _summed(self, within: ColumnElement[bool]) -> Select[Any]:
        kind = self._correlation.type
        number = plain(self._number).label("number")
        columns = [plain(column).label(f"group_{index}") for index, column in enumerate(self._columns)]
        names = [column.name for column in columns]
        seq = self._rows.table.c.seq
        if kind == "temporal_ordered":
            return self._rows.select([seq, number, *columns], within, self._matching.rows).distinct()
        read: list[ColumnElement[Any]]
        if kind in ("value_count", "temporal"):
            read, names = [func.max(seq), number], ["number", *names]
        else:
            read = [func.max(seq), func.sum(self._number).label("number")]
        return self._rows.select([*read, *columns], within, self._matching.rows).group_by(*names)

    def _evidence(self, within: ColumnElement[bool]) -> Select[Any]:
        columns = [*self._rows.place, *map(plain, self._columns)]
        newest = [column.desc() for column in self._rows.order]
        return self._rows.select(columns, within, self._matching.rows).order_by(*newest)

    def _behind(
        self, connection: Connection, window: Window, groups: Mapping[tuple[Any, ...], int]
    ) -> dict[tuple[Any, ...], list[tuple[int, int, int]]]:
        """The newest rows of each group; `groups` says how many are the snapshot's at hand."""
        found: dict[tuple[Any, ...], list[tuple[int, int, int]]] = defaultdict(list)
        most = {group: max(MOST_ROWS, number) for group, number in groups.items()}
        if len(groups) > _FEW_GROUPS:
            asked = [connection.execute(self._all_evidence[window.unbroken], window.place)]
        else:
            statement = self._group_evidence[window.unbroken]
            asked = [connection.execute(statement, self._place(window, *each)) for each in most.items()]
        for rows in asked:
            for seq, key_id, session, *values in rows:
                group = tuple(values)
                if len(found[group]) < most.get(group, 0):
                    found[group].append((seq, key_id, session))
        return {group: rows for group, rows in found.items() if rows}

    def _place(self, window: Window, group: Sequence[Any], most: int) -> dict[str, Any]:
        values = {f"group_{index}": self._value(value, index) for index, value in enumerate(group)}
        return {**window.place, **values, "most": most}

    def _group(self, values: tuple[Any, ...]) -> dict[str, Scalar]:
        known = tuple(map(self._value, values, range(len(self._fields))))
        return group_of(self._fields, known, values[-1] if self._directed else None)

    def _value(self, value: Any, column: int) -> Any:
        is_address = isinstance(self._columns[column].type, Address)
        return unpacked(bytes(value)) if is_address and value is not None else value


def _starts(
    connection: Connection,
    snapshot: SnapshotRef,
    window: Window,
    behind: Iterable[Sequence[tuple[int, int, int]]],
) -> dict[int, datetime]:
    """When snapshots began that have some of these rows: the first of each group at least."""
    seqs = {seq for rows in behind for seq, _, _ in ([min(rows)] if window.unbroken else rows)}
    starts = {snapshot.seq: snapshot.start}
    if asked := sorted(seqs - starts.keys()):
        within = snapshots.c.seq.between(asked[0], asked[-1])
        of_host = snapshots.c.host_id == snapshot.host_id
        found = connection.execute(select(snapshots.c.seq, snapshots.c.start).where(of_host, within))
        starts |= {seq: start for seq, start in found if seq in seqs}
    return starts
