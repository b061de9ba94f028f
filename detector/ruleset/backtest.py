"""Evaluates a rule over many stored snapshots at once, with the statements of live detection: the same findings."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import bindparam, select

from detector.domain import SnapshotRef
from detector.ruleset.evaluate import finding
from detector.ruleset.events import HOST_ID
from detector.ruleset.matchers import EventMatcher
from detector.ruleset.passing import may_pass
from detector.ruleset.screen import read_window
from detector.ruleset.sieve import plain
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from detector.domain import Finding
    from detector.ruleset.evaluate import Rule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_LOOKUP_BATCH = 1000
_PLACES = select(snapshots.c.seq, snapshots.c.start, snapshots.c.end).where(
    snapshots.c.host_id == HOST_ID, snapshots.c.seq.in_(bindparam("seqs", expanding=True))
)


class Replay:
    """One rule on one host. Its windows are those of the past, its rows those of the past or of a copy of them.

    Args:
        rule: the rule, loaded for this alone: a correlation remembers what it has seen of a host.
        host_id: number of the host.
        host: its name.
        past: the database of the past.
    """

    def __init__(self, rule: Rule, host_id: int, host: str, past: Connection) -> None:
        self._rule, self._past = rule, past
        self._place = {"host_id": host_id}
        self._ref = {"host_id": host_id, "host": host}
        wanted = rule.matcher.wanted
        rows = wanted.category.rows
        columns = [rows.table.c.seq, *map(plain, wanted.columns)]
        self._rows = rows.select(columns, rows.in_span, wanted.matching.rows).order_by(*rows.order)

    @property
    def looks_back(self) -> timedelta:
        """How far before a snapshot's end the rows are that the rule looks at."""
        matcher = self._rule.matcher
        return timedelta(0) if isinstance(matcher, EventMatcher) else matcher.timespan

    def findings(
        self, rows: Connection, since: int, span: tuple[int, int]
    ) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        """What the rule finds in the snapshots of a span, those with findings, in order.

        Args:
            rows: where the rows are, those of all windows that end in the span.
            since: the first snapshot whose rows are there.
            span: the first and the last snapshot to look at.
        """
        if isinstance(self._rule.matcher, EventMatcher):
            yield from self._of_snapshots(rows, span)
        else:
            yield from self._of_windows(rows, since, span)

    def _of_snapshots(self, rows: Connection, span: tuple[int, int]) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        matcher = self._rule.matcher
        assert isinstance(matcher, EventMatcher)  # noqa: S101 - asked before
        found = rows.execute(self._rows, self._place | {"first_seq": span[0], "seq": span[1]}).all()
        places = self._places({row[0] for row in found})
        for seq, of_seq in groupby(found, key=itemgetter(0)):
            if (ref := places.get(seq)) is not None:
                matches = matcher.matches(ref, [tuple(row[1:]) for row in of_seq])
                yield ref, _ordered(finding(self._rule, ref.host, match) for match in matches)

    def _of_windows(
        self, rows: Connection, since: int, span: tuple[int, int]
    ) -> Iterator[tuple[SnapshotRef, list[Finding]]]:
        matcher = self._rule.matcher
        assert not isinstance(matcher, EventMatcher)  # noqa: S101 - asked before
        found = rows.execute(self._rows, self._place | {"first_seq": since, "seq": span[1]}).all()
        places = self._places({row[0] for row in found})
        found = [row for row in found if row[0] in places]
        present: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row, may in zip(found, self._may_pass(found, places), strict=True):
            if may and span[0] <= row[0]:
                present.setdefault(row[0], [])
        for row in found:
            if row[0] in present:
                present[row[0]].append(tuple(row[1:]))
        for seq, of_seq in sorted(present.items()):
            ref = places[seq]
            window = read_window(self._past, ref, matcher.timespan)
            matches = matcher.matches(rows, ref, of_seq, window)
            if findings := _ordered(finding(self._rule, ref.host, match) for match in matches):
                yield ref, findings

    def _may_pass(self, found: Sequence[Any], places: dict[int, SnapshotRef]) -> Any:
        matcher = self._rule.matcher
        assert not isinstance(matcher, EventMatcher)  # noqa: S101 - asked before
        if matcher.at_least is None:
            return np.ones(len(found), dtype=np.bool_)
        distinct = matcher.correlation.counted is not None
        # A value that is missing is not counted, but its row may add to a group that passes.
        numbers = [0 if row[1] is None else hash(row[1]) if distinct else int(row[1]) for row in found]
        return may_pass(
            np.array([_microseconds(places[row[0]]) for row in found], dtype=np.int64),
            np.array([hash(tuple(row[2:])) for row in found], dtype=np.int64),
            np.array(numbers, dtype=np.int64),
            timespan=matcher.timespan // _MICROSECOND,
            threshold=matcher.at_least,
            distinct=distinct,
        )

    def _places(self, seqs: set[int]) -> dict[int, SnapshotRef]:
        """The snapshots of these numbers, of the past."""
        refs = {}
        ordered = sorted(seqs)
        for start in range(0, len(ordered), _LOOKUP_BATCH):
            some = ordered[start : start + _LOOKUP_BATCH]
            found = self._past.execute(_PLACES, self._place | {"seqs": some})
            refs.update({row.seq: SnapshotRef(**self._ref, **row._mapping) for row in found})
        return refs


def _ordered(findings: Iterator[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda each: each.fingerprint)


def _microseconds(ref: SnapshotRef) -> int:
    return (ref.end - _EPOCH) // _MICROSECOND
