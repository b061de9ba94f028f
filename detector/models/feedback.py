"""What the models learn of an alert of which a person says that it was true, or benign; and how they unlearn it.

What was said is kept of the keys behind the alert (see `said`), with some of their rows as the forest sees them, to
compare forests by. Before anything of a benign one is learnt, what is known of its keys is kept: once the word is taken
back they are as strange as they were.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, case, delete, func, insert, literal, select

from detector.domain import Learning, SnapshotRef, Verdict
from detector.models import samples, state
from detector.models.judgement import STRANGE, Moment, Sight, look
from detector.store import bulk
from detector.store.tables import (
    alert_verdict_keys,
    alert_verdict_rows,
    alert_verdict_subjects,
    alert_verdicts,
    alerts,
    connection_keys,
    evidence,
    model_samples,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from detector.domain import StoredCount

# What an alert is about began with it, or shortly before: then all of it is what the person speaks of.
_BEGAN_WITHIN = timedelta(hours=24)
_COMPARED = 1000
_CERTAIN = 1e-15
_EPOCH = datetime.fromtimestamp(0, UTC)


def keep_keys(connection: Connection, alert_id: int, host_id: int, verdict: Verdict) -> int:
    """Keeps the keys that are behind an alert now; those that are kept already stay as they are.

    Returns:
        How many there are.
    """
    keys, kept = connection_keys.c, alert_verdict_keys.c
    columns = alerts.c
    alert = connection.execute(
        select(columns.start, columns.score, columns.explanations).where(columns.alert_id == alert_id)
    ).one()
    if verdict is Verdict.BENIGN:
        level: Any = literal(_seen(alert.score, alert.explanations))
    else:
        # A key that was there long before is one of every day, and it is what was strange about it that was true.
        level = case((keys.first_seen > alert.start - _BEGAN_WITHIN, 0.0), else_=STRANGE)
    known = select(kept.digest).where(kept.host_id == host_id, kept.alert_id == alert_id)
    connection.execute(
        insert(alert_verdict_keys).from_select(
            ["host_id", "digest", "alert_id", "level"],
            select(literal(host_id), keys.digest, literal(alert_id), level).where(
                keys.host_id == host_id, keys.key_id.in_(_keys_behind(alert_id)), keys.digest.not_in(known)
            ),
        )
    )
    return connection.scalar(select(func.count()).select_from(alert_verdict_keys).where(kept.alert_id == alert_id)) or 0


def keep_rows(
    connection: Connection, alert_id: int, host_id: int, rows: Iterable[tuple[SnapshotRef, Sequence[StoredCount]]]
) -> None:
    """Keeps the features that rows behind an alert have now: those that they had then are not stored."""
    moment = _now(connection, host_id)
    kept: list[tuple[int, int, int, bytes]] = []
    for snapshot, counts in rows:
        for row in look(connection, snapshot, counts, moment).matrix:
            kept.append((alert_id, len(kept), *samples.packed(row)))
    bulk.upsert(connection, alert_verdict_rows, ("alert_id", "number", "layout", "features"), kept)


def keep_subjects(connection: Connection, alert_id: int, host_id: int, pages: Iterable[Sequence[StoredCount]]) -> None:
    """Keeps what is known of keys alone, before they are learnt; what was kept already stays."""
    moment = _now(connection, host_id)
    # Whenever: what is kept is not about times.
    snapshot = SnapshotRef(host_id=host_id, host="", seq=0, start=_EPOCH, end=_EPOCH)
    columns = alert_verdict_subjects.c
    there = set(map(bytes, connection.scalars(select(columns.subject).where(columns.alert_id == alert_id))))
    names = ("alert_id", "subject", "kept_seconds", "kind", "content")
    for counts in pages:
        sight = look(connection, snapshot, counts, moment)
        own = _own(sight)
        known = np.unique(own[sight.subjects.known[own]])
        rows = [
            (alert_id, digest, moment.start_seconds, kind, content)
            for digest, kind, content in sight.subjects.memory.records(known)
            if digest not in there
        ]
        there |= {digest for _, digest, *_ in rows}
        bulk.upsert(connection, alert_verdict_subjects, names, rows)


def unlearn(connection: Connection, alert_id: int, host_id: int) -> int:
    """Makes keys as strange as they were before an alert was called benign, as if the time since had not been, and
    takes them from the forest's sample; forgets what was said of keys and rows.

    Returns:
        How many keys it was about.
    """
    columns = alert_verdict_subjects.c
    kept = connection.execute(select(alert_verdict_subjects).where(columns.alert_id == alert_id)).all()
    if kept:
        now = state.load_host(connection, host_id).observed_seconds
        state.put_back(connection, host_id, [(row.kind, bytes(row.content), now - row.kept_seconds) for row in kept])
        sample = model_samples.c
        began = select(alerts.c.start).where(alerts.c.alert_id == alert_id).scalar_subquery()
        of_keys = sample.key_id.in_(_keys_behind(alert_id))
        connection.execute(delete(model_samples).where(sample.host_id == host_id, sample.at >= began, of_keys))
    gone = 0
    for table in (alert_verdict_subjects, alert_verdict_rows, alert_verdict_keys):
        gone = connection.execute(delete(table).where(table.c.alert_id == alert_id)).rowcount
    return gone


def rows_of(connection: Connection, host_id: int, verdict: Verdict) -> npt.NDArray[np.float32]:
    """(n, len(FEATURES)) rows behind a host's alerts of which people said so, those of the newest words first."""
    said, kept = alert_verdicts.c, alert_verdict_rows.c
    rows = connection.execute(
        select(kept.layout, kept.features)
        .join(alert_verdicts, said.alert_id == kept.alert_id)
        .join(alerts, alerts.c.alert_id == kept.alert_id)
        .where(alerts.c.host_id == host_id, said.verdict == verdict)
        .order_by(said.at.desc(), kept.alert_id, kept.number)
        .limit(_COMPARED)
    )
    return samples.unpacked((layout, bytes(features)) for layout, features in rows)


def _keys_behind(alert_id: int) -> Any:
    return select(evidence.c.key_id).where(evidence.c.alert_id == alert_id, evidence.c.key_id > 0)


def _seen(score: float | None, explanations: Sequence[tuple[float, str]]) -> float:
    """The largest surprise of an alert's rows."""
    told = (float(surprise) for surprise, _ in explanations)
    return max(-math.log10(max(1.0 - (score or 0.0), _CERTAIN)), 0.0, *told)


def _own(sight: Sight) -> npt.NDArray[np.int64]:
    """The subjects that are about single places, and about actors: what makes a key new."""
    endpoints = sight.endpoints
    of_actors = [column[each.named] for each in sight.actors for column in (each.destination, each.actor)]
    return np.concatenate([endpoints.pair, endpoints.destination, *of_actors])


def _now(connection: Connection, host_id: int) -> Moment:
    seconds = state.load_host(connection, host_id).observed_seconds
    learning = Learning(elapsed_seconds=seconds, required_seconds=seconds)
    return Moment(start_seconds=seconds, duration_seconds=0.0, learning=learning)
