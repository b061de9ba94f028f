"""Finds what compiled rules match in the store: single-event rules in one snapshot, correlations over a window."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.domain import Direction, EvidenceRef
from detector.ruleset.correlation import OPERATORS
from detector.ruleset.fields import ACTOR, FIELDS, Field, group_of
from detector.ruleset.rows import AFTER, HOST_ID, IN_SNAPSHOT, IN_WINDOW, ROW_ORDER, UNTIL, select_rows
from detector.store.tables import connection_counts, connection_keys, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection

    from detector.domain import Scalar, SnapshotRef
    from detector.ruleset.conditions import Matching
    from detector.ruleset.correlation import Correlation

_DIRECTION = connection_keys.c.direction
_PORT = FIELDS["DestinationPort"]
# Fields of both directions' actors; of each row those of its own direction are used.
_ACTORS = (*ACTOR[Direction.OUTBOUND], *ACTOR[Direction.INBOUND])


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Rows that a rule takes for one thing, with what they have in common."""

    group: Mapping[str, Scalar]
    start: datetime
    end: datetime
    evidence: tuple[EvidenceRef, ...]


class EventMatcher:
    """A single-event rule: the rows of a snapshot that meet a condition, grouped."""

    def __init__(self, matching: Matching, group_by: tuple[Field, ...] | None) -> None:
        self._group_by = group_by
        columns = [field.expression for field in group_by or _ACTORS]
        key = (connection_counts.c.key_id, connection_counts.c.session)
        self._statement = select_rows([*key, _DIRECTION, *columns], IN_SNAPSHOT, matching.rows).order_by(*key)

    def matches(self, connection: Connection, snapshot: SnapshotRef) -> Iterator[Match]:
        """What the rule matches in `snapshot`, a match for each group."""
        rows = connection.execute(self._statement, {"host_id": snapshot.host_id, "seq": snapshot.seq})
        groups: dict[tuple[Any, ...], list[EvidenceRef]] = defaultdict(list)
        for key_id, session, direction, *values in rows:
            evidence = EvidenceRef(seq=snapshot.seq, key_id=key_id, session=session)
            groups[tuple(self._group(direction, tuple(values)).items())].append(evidence)
        for group, found in groups.items():
            yield Match(group=dict(group), start=snapshot.start, end=snapshot.end, evidence=tuple(found))

    def _group(self, direction: str, values: tuple[Any, ...]) -> dict[str, Scalar]:
        if self._group_by is not None:
            return group_of(self._group_by, values, direction)
        outbound = len(ACTOR[Direction.OUTBOUND])
        of_direction = values[:outbound] if direction == Direction.OUTBOUND else values[outbound:]
        return group_of(ACTOR[Direction(direction)], of_direction, direction)


class CorrelationMatcher:
    """A correlation: groups whose count over a window passes a threshold and that the current snapshot adds to."""

    def __init__(self, correlation: Correlation, matching: Matching) -> None:
        self._fields = correlation.group_by
        self._timespan: timedelta = correlation.timespan
        # DestinationPort is two things: the remote port when outbound, the local one when inbound.
        self._directed = _PORT in self._fields
        columns: list[ColumnElement[Any]] = [field.expression for field in self._fields]
        if self._directed:
            columns.append(_DIRECTION)
        labelled = [column.label(f"group_{index}") for index, column in enumerate(columns)]
        names = [label.name for label in labelled]
        counted = correlation.counted
        count = func.sum(matching.weight) if counted is None else func.count(counted.expression.distinct())
        self._present = select_rows(labelled, IN_SNAPSHOT, matching.rows).distinct()
        self._passing = (
            select_rows(labelled, IN_WINDOW, matching.rows, reads=count)
            .group_by(*names)
            .having(OPERATORS[correlation.operator](count, correlation.threshold))
        )
        spans = (snapshots.c.start, snapshots.c.end)
        self._evidence = select_rows([*ROW_ORDER, *spans, *labelled], IN_WINDOW, matching.rows).order_by(*ROW_ORDER)

    def matches(self, connection: Connection, snapshot: SnapshotRef) -> Iterator[Match]:
        """The groups with a row in `snapshot` that pass over the window that ends with it.

        The window holds the host's snapshots that end after the snapshot's end less the timespan, no later than it,
        and that were written no later: the same whenever it is evaluated.
        """
        place: dict[str, Any] = {"host_id": snapshot.host_id, "seq": snapshot.seq}
        present = {tuple(row) for row in connection.execute(self._present, place)}
        if not present:
            return
        place |= {"after": snapshot.end - self._timespan, "until": snapshot.end}
        place["first_seq"] = connection.scalar(_FIRST_OF_WINDOW, place)
        passing = {tuple(row) for row in connection.execute(self._passing, place)} & present
        if not passing:
            return
        rows: dict[tuple[Any, ...], list[Sequence[Any]]] = defaultdict(list)
        for row in connection.execute(self._evidence, place):
            group = tuple(row[5:])
            if group in passing:
                rows[group].append(row)
        for group, found in rows.items():
            yield Match(
                group=self._group(group),
                start=min(row[3] for row in found),
                end=max(row[4] for row in found),
                evidence=tuple(
                    EvidenceRef(seq=seq, key_id=key_id, session=session) for seq, key_id, session, *_ in found
                ),
            )

    def _group(self, values: tuple[Any, ...]) -> dict[str, Scalar]:
        return group_of(self._fields, values[: len(self._fields)], values[-1] if self._directed else None)


# The lowest number of a snapshot in the window. Of a bare min(seq) SQLite would go through all of the host's snapshots
# from the first; "+ 0" leaves it the index over their ends.
_FIRST_OF_WINDOW = select(func.min(snapshots.c.seq + 0)).where(
    snapshots.c.host_id == HOST_ID, snapshots.c.end > AFTER, snapshots.c.end <= UNTIL
)
