"""Evaluates a correlation over many stored snapshots, with the statements of live detection: the same findings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import bindparam, select

from detector.domain import SnapshotRef
from detector.ruleset.correlating import CorrelationMatcher
from detector.ruleset.evaluate import RuleSet
from detector.ruleset.events import HOST_ID
from detector.ruleset.passing import may_pass
from detector.ruleset.sieve import plain
from detector.ruleset.sought import least
from detector.ruleset.windows import PLACE
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class ReplayedCorrelation:
    """A correlation on one host. Its windows are those of the past, its rows those of the past or of a copy of them.

    Args:
        rule: the rule, loaded for this alone: it remembers what it has seen of a host.
        host_id: number of the host.
        host: its name.
        past: the database of the past.
    """

    def __init__(self, rule: Rule, host_id: int, host: str, past: Connection) -> None:
        assert isinstance(rule.matcher, CorrelationMatcher)  # noqa: S101 - a fault of ours
        self._matcher, self._past = rule.matcher, past
        # A rule that only feeds others is asked what it finds, too.
        self._ruleset = RuleSet([replace(rule, produces_findings=True)])
        self._place = {"host_id": host_id}
        self._host_id, self._host = host_id, host
        wanted = rule.matcher.wanted
        rows = wanted.category.rows
        columns = [rows.table.c.seq, *map(plain, wanted.columns)]
        self._rows = rows.select(columns, rows.in_span, wanted.matching.rows).order_by(*rows.order)

    def candidates(self, rows: Connection, since: int, span: tuple[int, int]) -> list[SnapshotRef]:
        """The snapshots of a span in which it may find something; see `evaluate`.

        Args:
            rows: where the rows are, those of all windows that end in the span.
            since: the first snapshot whose rows are there.
            span: the first and the last snapshot to look at.
        """
        found = rows.execute(self._rows, self._place | {"first_seq": since, "seq": span[1]}).all()
        refs = self._refs({row[0] for row in found})
        found = [row for row in found if row[0] in refs]
        chosen = {row[0] for row, may in zip(found, self._may_pass(found, refs), strict=True) if may}
        return [refs[seq] for seq in sorted(chosen) if seq >= span[0]]

    def evaluate(self, rows: Connection, snapshot: SnapshotRef) -> list[Finding]:
        """What live detection would find; `rows` has those of the window, and what is known of its snapshots."""
        # What was looked at before may have been deleted since.
        self._ruleset.forget()
        return self._ruleset.evaluate(rows, snapshot)

    def _may_pass(self, found: Sequence[Any], refs: dict[int, SnapshotRef]) -> Any:
        enough = least(self._matcher)
        if enough is None:
            return np.ones(len(found), dtype=np.bool_)
        # A value that is missing is not counted, but its row may add to a group that passes.
        # A row is the number of its snapshot, its place, what it counts, and its group.
        values = [row[1 + PLACE] for row in found]
        numbers = [0 if each is None else hash(each) if enough.distinct else int(each) for each in values]
        return may_pass(
            np.array([_microseconds(refs[row[0]]) for row in found], dtype=np.int64),
            np.array([hash(tuple(row[2 + PLACE :])) for row in found], dtype=np.int64),
            np.array(numbers, dtype=np.int64),
            timespan=self._matcher.timespan // _MICROSECOND,
            threshold=enough.number,
            distinct=enough.distinct,
        )

    def _refs(self, seqs: set[int]) -> dict[int, SnapshotRef]:
        """The snapshots of these numbers, of the past."""
        refs: dict[int, SnapshotRef] = {}
        ordered = sorted(seqs)
        for start in range(0, len(ordered), _LOOKUP_BATCH):
            some = ordered[start : start + _LOOKUP_BATCH]
            found = self._past.execute(_PLACES, self._place | {"seqs": some})
            refs |= {row.seq: SnapshotRef(host_id=self._host_id, host=self._host, **row._mapping) for row in found}
        return refs


def _microseconds(ref: SnapshotRef) -> int:
    return (ref.end - _EPOCH) // _MICROSECOND
