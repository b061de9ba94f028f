"""What the snapshots behind alerts about capture say, added up in the database."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, case, func, select, union

from detector.alerts.facts import CaptureFacts, Distinct
from detector.alerts.grouping import WHOLE
from detector.domain import Losses
from detector.store import bulk
from detector.store.tables import evidence, rule_faults, silences, snapshots, tamperings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import ColumnElement, FromClause

    from detector.domain import SnapshotRef

_KINDS = tuple(each.name for each in fields(Losses))
_SNAPSHOT = snapshots.c
_FORWARD = case((_SNAPSHOT.clock_step_seconds > 0, _SNAPSHOT.clock_step_seconds), else_=0.0)
_BACK = case((_SNAPSHOT.clock_step_seconds < 0, -_SNAPSHOT.clock_step_seconds), else_=0.0)
# A clock that was set forward leaves out time that never was. What is left below a second is how exact clocks are.
_GAP = _SNAPSHOT.gap_seconds - _FORWARD
_IS_GAP = _GAP >= 1.0


def read(
    connection: Connection,
    snapshot: SnapshotRef,
    behind: Mapping[int, Collection[int]],
    values: Mapping[int, Mapping[str, Distinct]],
) -> dict[int, CaptureFacts]:
    """The facts of each alert about capture, all of which `snapshot` is behind.

    Args:
        behind: by alert, the snapshots that it was found in, beside those that are stored as its evidence.
        values: what the rows of alerts say (see `values.distinct`).
    """
    if not behind:
        return {}
    present = connection.execute(
        select(
            *(_SNAPSHOT.blind_since, _SNAPSHOT.self_test_passed, _SNAPSHOT.unseen, silences.c.silent_seconds),
            *(rule_faults.c.files, rule_faults.c.fault, tamperings.c.breaks, tamperings.c.first_break),
        )
        .select_from(_with_told())
        .where(_SNAPSHOT.host_id == snapshot.host_id, _SNAPSHOT.seq == snapshot.seq, _SNAPSHOT.end == snapshot.end)
    ).one()
    result: dict[int, CaptureFacts] = {}
    for alert_id, seqs in behind.items():
        sums = connection.execute(_sums(connection, snapshot, alert_id, seqs)).mappings().one()
        result[alert_id] = CaptureFacts(
            host=snapshot.host,
            end=snapshot.end,
            blind_since=present.blind_since,
            self_test_failed=present.self_test_passed is False,
            unseen=present.unseen,
            silent_seconds=present.silent_seconds,
            rules_refused=present.files or 0,
            rule_fault=present.fault or "",
            tampered=present.breaks or 0,
            first_break=present.first_break or "",
            # Postgres adds BIGINTs up to a NUMERIC.
            losses=Losses(**{kind: int(sums[kind]) for kind in _KINDS}),
            **{name: sums[name] for name in _MEASURES},
            programs=values.get(alert_id, {}).get("executable", Distinct()),
        )
    return result


def _with_told() -> FromClause:
    """Snapshots, with what was told of a host when they were its last."""
    source: FromClause = snapshots
    for told in (silences, rule_faults, tamperings):
        source = source.outerjoin(told, and_(told.c.host_id == _SNAPSHOT.host_id, told.c.seq == _SNAPSHOT.seq))
    return source


_MEASURES: dict[str, ColumnElement[Any]] = {
    "gaps": func.count(case((_IS_GAP, 1))),
    "gap_seconds": func.sum(case((_IS_GAP, _GAP), else_=0.0)),
    "gap_end": func.max(case((_IS_GAP, _SNAPSHOT.start))),
    "forward_seconds": func.sum(_FORWARD),
    "back_seconds": func.sum(_BACK),
    "late_seconds": func.max(_SNAPSHOT.late_seconds),
    "suspended_seconds": func.sum(_SNAPSHOT.suspended_seconds),
    "waited_seconds": func.max(_SNAPSHOT.waited_seconds),
    # Their names end with the time.
    "set_aside": func.max(_SNAPSHOT.set_aside),
}


def _sums(connection: Connection, snapshot: SnapshotRef, alert_id: int, seqs: Collection[int]) -> Any:
    stored = select(evidence.c.seq).where(evidence.c.alert_id == alert_id, evidence.c.key_id == WHOLE)
    new = select(bulk.listed(connection, {"seq": evidence.c.seq}, [(seq,) for seq in sorted(seqs)]))
    behind = union(stored, new).subquery()
    return select(
        *(func.sum(_SNAPSHOT[f"lost_{kind}"]).label(kind) for kind in _KINDS),
        *(measure.label(name) for name, measure in _MEASURES.items()),
    ).select_from(behind.join(snapshots, and_(_SNAPSHOT.host_id == snapshot.host_id, _SNAPSHOT.seq == behind.c.seq)))
