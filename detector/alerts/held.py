"""Findings that nobody is told of yet: their rule has a burn-in, and the host was not watched for so long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from detector.store import bulk
from detector.store.tables import held_findings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from detector.domain import Finding, SnapshotRef

_HELD = held_findings.c
_NAMES = tuple(column.name for column in _HELD)
# SQLite accepts 32,766 bound parameters a statement.
_AT_ONCE = 1000


def write(connection: Connection, snapshot: SnapshotRef, findings: Sequence[Finding]) -> None:
    """Adds a snapshot's findings to what is held back; those of a snapshot count once, however often it is called."""
    new = {(each.rule_id, each.fingerprint): each for each in reversed(findings)}
    found = list(new.values())
    for begin in range(0, len(found), _AT_ONCE):
        some = found[begin : begin + _AT_ONCE]
        rows = connection.execute(
            select(_HELD.rule_id, _HELD.fingerprint, _HELD.findings, _HELD.start, _HELD.end, _HELD.seq).where(
                _HELD.host_id == snapshot.host_id,
                bulk.among(connection, _HELD.fingerprint, [each.fingerprint for each in some]),
            )
        )
        known = {(row.rule_id, row.fingerprint): row for row in rows}
        added = [
            _row(snapshot, each, row)
            for each in some
            if (row := known.get((each.rule_id, each.fingerprint))) is None or row.seq < snapshot.seq
        ]
        bulk.upsert(connection, held_findings, _NAMES, added)


def _row(snapshot: SnapshotRef, finding: Finding, known: Any) -> tuple[Any, ...]:
    number, start, end = 1, finding.start, finding.end
    if known is not None:
        number, start, end = known.findings + 1, min(known.start, start), max(known.end, end)
    said = {"rule_id": finding.rule_id, "fingerprint": finding.fingerprint, "group": dict(finding.group)}
    counted = {"findings": number, "start": start, "end": end, "seq": snapshot.seq}
    return tuple(({"host_id": snapshot.host_id} | said | counted)[name] for name in _NAMES)
