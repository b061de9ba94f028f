"""Findings that nobody is told of yet: their rule has a burn-in, and the host was not watched for so long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select, update

from detector.store.tables import held_findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import Finding, SnapshotRef

_HELD = held_findings.c


def write(connection: Connection, snapshot: SnapshotRef, findings: Sequence[Finding]) -> None:
    """Adds a snapshot's findings to what is held back; those of a snapshot count once, however often it is called."""
    for finding in findings:
        this = (_HELD.host_id == snapshot.host_id) & (_HELD.rule_id == finding.rule_id)
        this &= _HELD.fingerprint == finding.fingerprint
        known = connection.execute(select(_HELD.start, _HELD.end, _HELD.seq).where(this)).first()
        if known is None:
            connection.execute(
                insert(held_findings).values(
                    host_id=snapshot.host_id,
                    rule_id=finding.rule_id,
                    fingerprint=finding.fingerprint,
                    group=dict(finding.group),
                    findings=1,
                    start=finding.start,
                    end=finding.end,
                    seq=snapshot.seq,
                )
            )
        elif known.seq < snapshot.seq:
            connection.execute(
                update(held_findings)
                .where(this)
                .values(
                    findings=_HELD.findings + 1,
                    start=min(known.start, finding.start),
                    end=max(known.end, finding.end),
                    seq=snapshot.seq,
                )
            )
