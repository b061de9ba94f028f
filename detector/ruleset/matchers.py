"""Finds what compiled rules match in the store: single-event rules in one snapshot, correlations over a window."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func

from detector.domain import EvidenceRef
from detector.ruleset.correlation import OPERATORS
from detector.ruleset.fields import Field, group_of
from detector.ruleset.screen import Screen
from detector.ruleset.sieve import Wanted
from detector.store.columns import Address, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection

    from detector.domain import Scalar, SnapshotRef
    from detector.ruleset.conditions import Matching
    from detector.ruleset.correlation import Correlation
    from detector.ruleset.events import Category
    from detector.ruleset.screen import Window

# DestinationPort is two things: the remote port when outbound, the local one when inbound.
_TWO_THINGS = "remote_port"
# With these, a group that counts too little stays out whatever its exact count.
_AT_LEAST = ("gt", "gte")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Rows that a rule takes for one thing, with what they have in common."""

    group: Mapping[str, Scalar]
    start: datetime
    end: datetime
    evidence: tuple[EvidenceRef, ...]


class EventMatcher:
    """A single-event rule: the rows of a snapshot that meet a condition, grouped."""

    def __init__(self, category: Category, matching: Matching, group_by: tuple[Field, ...] | None) -> None:
        # By direction: what to group by, and where it stands among the columns.
        self._groups: dict[str | None, tuple[tuple[Field, ...], slice]] = {}
        fields: list[Field] = [*(group_by or ())]
        for direction, actor in category.actors.items():
            if group_by is None:
                fields += actor
            chosen = group_by or actor
            self._groups[direction] = chosen, slice(len(fields) - len(chosen), len(fields))
        self._addresses = [isinstance(field.expression.type, Address) for field in fields]
        columns = (*category.rows.place, category.direction, *(field.expression for field in fields))
        self.wanted = Wanted(category, matching, columns)

    def matches(self, snapshot: SnapshotRef, rows: Sequence[tuple[Any, ...]]) -> Iterator[Match]:
        """A match for each group of the `rows` of `snapshot` that meet the condition."""
        groups: dict[tuple[Any, ...], list[EvidenceRef]] = defaultdict(list)
        for seq, key_id, session, direction, *values in rows:
            fields, where = self._groups[direction]
            shown = [
                unpacked(bytes(value)) if is_address and value is not None else value
                for value, is_address in zip(values[where], self._addresses[where], strict=True)
            ]
            group = group_of(fields, tuple(shown), direction)
            groups[tuple(group.items())].append(EvidenceRef(seq=seq, key_id=key_id, session=session))
        for each, found in groups.items():
            yield Match(group=dict(each), start=snapshot.start, end=snapshot.end, evidence=tuple(found))


class CorrelationMatcher:
    """A correlation: groups whose count over a window passes a threshold and that the current snapshot adds to."""

    def __init__(self, category: Category, correlation: Correlation, matching: Matching) -> None:
        self.correlation = correlation
        self._fields = correlation.group_by
        self.timespan: timedelta = correlation.timespan
        """How far back the window goes."""
        self._directed = any(field.word == _TWO_THINGS for field in self._fields)
        columns: list[ColumnElement[Any]] = [field.expression for field in self._fields]
        if self._directed:
            columns.append(category.direction)
        labelled = [column.label(f"group_{index}") for index, column in enumerate(columns)]
        names = [label.name for label in labelled]
        counted = correlation.counted
        count = func.sum(matching.weight) if counted is None else func.count(counted.expression.distinct())
        rows = category.rows
        self._present = rows.select(labelled, rows.in_snapshot, matching.rows).distinct()
        # By whether the numbers of the snapshots are enough to find them.
        self._passing, self._evidence = {}, {}
        for plain, within in ((True, rows.in_span), (False, rows.in_window)):
            self._passing[plain] = (
                rows.select(labelled, within, matching.rows, reads=count)
                .group_by(*names)
                .having(OPERATORS[correlation.operator](count, correlation.threshold))
            )
            self._evidence[plain] = rows.select([*rows.place, *labelled], within, matching.rows).order_by(*rows.order)
        number = matching.weight if counted is None else counted.expression
        self.wanted = Wanted(category, matching, (number, *columns))
        self._screen: Screen | None = None
        if correlation.operator in _AT_LEAST:
            self._screen = Screen(self.wanted, distinct=counted is not None, threshold=correlation.threshold)

    def matches(
        self, connection: Connection, snapshot: SnapshotRef, rows: Sequence[tuple[Any, ...]], window: Window
    ) -> Iterator[Match]:
        """The groups of the `rows` of `snapshot` that pass over the part of `window` within the timespan.

        The window holds the host's snapshots that end after the snapshot's end less the timespan, no later than it,
        and that were written no later: the same whenever it is evaluated.
        """
        after = snapshot.end - self.timespan
        window = [each for each in window if each[2] > after]
        if not rows or (self._screen is not None and not self._screen.may_pass(connection, snapshot, rows, window)):
            return
        place: dict[str, Any] = {"host_id": snapshot.host_id, "seq": snapshot.seq, "end": snapshot.end}
        present = {tuple(row) for row in connection.execute(self._present, place)}
        place |= {"after": after, "until": snapshot.end, "first_seq": window[0][0]}
        # Unless the clock was set back meanwhile. The times make Postgres look through the window for each row.
        plain = snapshot.seq - window[0][0] + 1 == len(window)
        passing = {tuple(row) for row in connection.execute(self._passing[plain], place)} & present
        if not passing:
            return
        times = {seq: (start, end) for seq, start, end in window}
        behind: dict[tuple[Any, ...], list[Sequence[Any]]] = defaultdict(list)
        for row in connection.execute(self._evidence[plain], place):
            group = tuple(row[3:])
            if group in passing:
                behind[group].append(row)
        for group, found in behind.items():
            spans = [times[row[0]] for row in found]
            yield Match(
                group=self._group(group),
                start=min(start for start, _ in spans),
                end=max(end for _, end in spans),
                evidence=tuple(
                    EvidenceRef(seq=seq, key_id=key_id, session=session) for seq, key_id, session, *_ in found
                ),
            )

    def _group(self, values: tuple[Any, ...]) -> dict[str, Scalar]:
        return group_of(self._fields, values[: len(self._fields)], values[-1] if self._directed else None)
