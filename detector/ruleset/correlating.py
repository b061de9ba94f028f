"""Finds the groups of a correlation that pass over a window, and the rows behind them."""

from __future__ import annotations

import operator
from array import array
from bisect import bisect_left
from collections import defaultdict
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, bindparam, case, func, literal_column, select

from detector.domain import EvidenceRef
from detector.ruleset.bounds import Rules
from detector.ruleset.conditions import Matching
from detector.ruleset.correlation import TEMPORAL
from detector.ruleset.fields import group_of
from detector.ruleset.folding import folded
from detector.ruleset.matchers import Match
from detector.ruleset.sieve import Wanted, plain
from detector.ruleset.tallies import NO_VALUE, OrderedStages, Stages, Sums, Values
from detector.ruleset.window import Window
from detector.ruleset.windows import PLACE
from detector.store.columns import Address, unpacked
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection, Select

    from detector.domain import Scalar, SnapshotRef
    from detector.ruleset.correlation import Correlation
    from detector.ruleset.events import Category, Rows
    from detector.ruleset.folding import Folded
    from detector.ruleset.tallies import Entry, Tally
    from detector.ruleset.windows import Passing

MOST_ROWS = 2_000
"""So many of the newest rows of its window a finding names, or all of the snapshot at hand if they are more."""

Place = tuple[int, ...]
"""Of a row: the numbers of its snapshot, key and session."""

# DestinationPort is two things: the remote port when outbound, the local one when inbound.
_TWO_THINGS = "remote_port"
# Of so many groups the rows are asked for one by one; of more, all rows of the rule are gone through once.
_FEW_GROUPS = 8
_FEW_SNAPSHOTS = 500
_MOST = bindparam("most", type_=BigInteger)


class CorrelationMatcher:
    """A correlation: groups that pass over a window and that the current snapshot adds to."""

    def __init__(self, category: Category, correlation: Correlation, bases: Sequence[Matching]) -> None:
        """`bases` are what the rules match that it counts, in their order."""
        self.correlation = correlation
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
        self.wanted = Wanted(category, self._matching, (*category.rows.place, self._number, *self._columns))
        self._history = {each: self._summed(self._rows, within) for each, within in self._within()}
        self.shared = self._shared(category)
        """How a long window may be read together with others, and `history` of what is read so; None: it may not."""
        self._all_evidence = {each: self._evidence(within) for each, within in self._within()}
        same = [
            column.is_not_distinct_from(bindparam(f"group_{index}", type_=column.type))
            for index, column in enumerate(self._columns)
        ]
        if (of_keys := self._rows.of_keys(same)) is not None:
            same.append(of_keys)
        self._group_evidence = {
            each: statement.where(*same).limit(_MOST) for each, statement in self._all_evidence.items()
        }

    @property
    def meaning(self) -> tuple[str, ...]:
        """What it counts and when it passes, as text."""
        counted = self._history[True].compile()
        correlation = self.correlation
        said = (correlation.type, correlation.timespan, correlation.passes, counted, sorted(counted.params.items()))
        return tuple(map(str, said))

    def tally(self) -> Tally:
        """An empty one for what it counts."""
        kind, passes = self.correlation.type, self.correlation.passes
        number = len(self.correlation.rules)
        if kind == "temporal_ordered":
            return OrderedStages(number)
        if isinstance(passes, Rules):
            return Stages(number, passes.holds)
        if kind == "temporal":
            return Stages(number, lambda matched: sum(matched) in passes)
        return Values(passes) if kind == "value_count" else Sums(passes)

    def entries(self, rows: Iterable[Sequence[Any]]) -> list[Entry]:
        """What rows of `wanted` count."""
        if self.correlation.type != "value_count":
            # Postgres adds BIGINTs up to a NUMERIC.
            return [(hash(tuple(group)), int(number)) for _, _, _, number, *group in rows]
        return [
            (hash(tuple(group)), NO_VALUE if value is None else hash((value, *group)))
            for _, _, _, value, *group in rows
        ]

    def history(self, *, unbroken: bool) -> Select[Any]:
        """What the rows of a window add up to, in the columns of `wanted` and the order of snapshots."""
        return self._history[unbroken]

    def matches(
        self, connection: Connection, snapshot: SnapshotRef, rows: Sequence[tuple[Any, ...]], passing: Passing
    ) -> Iterator[Match]:
        """A match for each of the groups that pass with the `rows` of `snapshot`, with the rows of the window."""
        groups: dict[tuple[Any, ...], list[Place]] = defaultdict(list)
        for seq, key_id, session, _, *values in rows:
            if hash(group := tuple(values)) in passing.groups:
                groups[group].append((seq, key_id, session))
        if not groups:
            return
        self._look_behind(connection, snapshot, groups, passing)
        found: dict[tuple[Any, ...], list[Place]] = {}
        for group, present in groups.items():
            places = passing.behind[hash(group)]
            # The oldest are those that have left the window, and those that are too many.
            spare = max(MOST_ROWS - len(present), 0)
            gone = max(bisect_left(places[::PLACE], passing.window.place["first_seq"]), len(places) // PLACE - spare)
            del places[: PLACE * gone]
            found[group] = [*zip(*(places[column::PLACE] for column in range(PLACE)), strict=True), *present]
        starts = _starts(connection, snapshot, passing.window, found.values())
        for group, named in found.items():
            yield Match(
                group=self._group(group),
                start=min(starts[seq] for seq, *_ in named if seq in starts),
                end=snapshot.end,
                evidence=tuple(EvidenceRef(seq=seq, key_id=key_id, session=session) for seq, key_id, session in named),
            )

    def _counted(self, bases: Sequence[Matching]) -> ColumnElement[Any]:
        """How much a row counts, the value that it has, or which rules match it, a bit for each."""
        if self.correlation.type in TEMPORAL:
            bits: Iterator[ColumnElement[Any]] = (
                case((each.rows, literal_column(str(1 << bit), BigInteger)), else_=literal_column("0", BigInteger))
                for bit, each in enumerate(bases)
            )
            return reduce(operator.add, bits)
        counted = self.correlation.counted
        return self._matching.weight if counted is None else counted.expression

    def _within(self) -> Iterator[tuple[bool, ColumnElement[bool]]]:
        # By whether the numbers of the snapshots are enough to find them: by the times as well, Postgres looks through
        # the window for each row.
        yield True, self._rows.in_span
        yield False, self._rows.in_window

    def _shared(self, category: Category) -> tuple[Folded, Select[Any]] | None:
        fold = folded(category)
        kind = self.correlation.type
        # Of a chain of rules the last row of each is not enough.
        if fold is None or kind == "temporal_ordered":
            return None
        counted = () if self.correlation.counted is None or kind == "value_sum" else (self._number,)
        if not fold.knows(*self._matching.compared, *self._columns, *counted):
            return None
        return fold, self._summed(fold.rows, over=fold.adapted)

    def _summed(
        self,
        rows: Rows,
        *within: ColumnElement[bool],
        over: Callable[[ColumnElement[Any]], ColumnElement[Any]] = lambda expression: expression,
    ) -> Select[Any]:
        """What rows add up to; `over` says what stands for their columns."""
        kind = self.correlation.type
        number = plain(over(self._number)).label("number")
        columns = [plain(over(column)).label(f"group_{index}") for index, column in enumerate(self._columns)]
        names = [column.name for column in columns]
        read: list[ColumnElement[Any]]
        seq, nothing = rows.table.c.seq, (literal_column("0", Integer), literal_column("0", Integer))
        matching = over(self._matching.rows)
        if kind == "temporal_ordered":
            # There may be as many as rows: they are taken in one by one.
            return rows.select([seq, *nothing, number, *columns], *within, matching).distinct().order_by(seq)
        last = func.max(seq).label("last_seq")
        if kind in ("value_count", "temporal"):
            read, names = [last, *nothing, number], ["number", *names]
        else:
            read = [last, *nothing, func.sum(over(self._number)).label("number")]
        return rows.select([*read, *columns], *within, matching).group_by(*names).order_by(last.name)

    def _evidence(self, within: ColumnElement[bool]) -> Select[Any]:
        columns = [*self._rows.place, *map(plain, self._columns)]
        newest = [column.desc() for column in self._rows.order]
        return self._rows.select(columns, within, self._matching.rows).order_by(*newest)

    def _look_behind(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        groups: Mapping[tuple[Any, ...], Sequence[Place]],
        passing: Passing,
    ) -> None:
        """Reads the newest rows, before `snapshot`, behind groups of which they are not known."""
        unknown = {group: hash(group) for group in groups if hash(group) not in passing.behind}
        window = Window({**passing.window.place, "seq": snapshot.seq - 1}, 0, passing.window.unbroken)
        if len(unknown) > _FEW_GROUPS:
            asked = [connection.execute(self._all_evidence[window.unbroken], window.place)]
        else:
            statement = self._group_evidence[window.unbroken]
            asked = [connection.execute(statement, self._place(window, group)) for group in unknown]
        found: dict[int, list[int]] = {each: [] for each in unknown.values()}
        for rows in asked:
            for *place, values in ((seq, key_id, session, values) for seq, key_id, session, *values in rows):
                known = found.get(hash(tuple(values)))
                if known is not None and len(known) < PLACE * MOST_ROWS:
                    known += place
        for group, newest in found.items():
            oldest = (newest[at : at + PLACE] for at in range(len(newest) - PLACE, -1, -PLACE))
            passing.behind[group] = array("q", chain.from_iterable(oldest))

    def _place(self, window: Window, group: Sequence[Any]) -> dict[str, Any]:
        values = {f"group_{index}": self._value(value, index) for index, value in enumerate(group)}
        return {**window.place, **values, "most": MOST_ROWS}

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
    behind: Iterable[Sequence[Place]],
) -> dict[int, datetime]:
    """When snapshots began that have some of these rows: the first of each group at least."""
    seqs = {seq for rows in behind for seq, _, _ in ([min(rows)] if window.unbroken else rows)}
    starts = {snapshot.seq: snapshot.start}
    if asked := sorted(seqs - starts.keys()):
        few = len(asked) <= _FEW_SNAPSHOTS
        within = snapshots.c.seq.in_(asked) if few else snapshots.c.seq.between(asked[0], asked[-1])
        of_host = snapshots.c.host_id == snapshot.host_id
        found = connection.execute(select(snapshots.c.seq, snapshots.c.start).where(of_host, within))
        starts |= {seq: start for seq, start in found if seq in seqs}
    return starts
