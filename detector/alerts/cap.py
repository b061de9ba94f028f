"""No more than so many alerts of a host's scores are opened in a day; what is beyond is one alert that holds it all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from detector import shipped
from detector.alerts import standing
from detector.alerts.grouping import incidents
from detector.store.tables import alerts, observations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import Finding, SnapshotRef

_DAY = timedelta(days=1)
_DIGEST_BYTES = 12


def is_digest(fingerprint: str) -> bool:
    """Whether an alert is the one that holds what was beyond the cap."""
    return fingerprint.startswith(shipped.HELD_BACK)


def capped(
    connection: Connection, snapshot: SnapshotRef, findings: Sequence[Finding], *, cooldown: timedelta, most: int
) -> list[Finding]:
    """The findings of a snapshot, with those that would open too many alerts of the rule on scores made into one.

    The strangest are told first; what belongs to an alert that goes on is no new one. Days are those of UTC, by data
    time.

    Args:
        connection: within the detection's transaction.
        snapshot: what they were found in.
        findings: of all rules.
        cooldown: that of rules without one of their own.
        most: the most alerts that are opened in a day.
    """
    ours = [each for each in findings if each.rule_id == shipped.ANOMALY_RULE]
    if not ours:
        return list(findings)
    arrived = incidents(ours)
    cooldowns = {each.fingerprint: each.lead.telling.cooldown or cooldown for each in arrived}
    known = standing.find(connection, snapshot, cooldowns)
    new = [each for each in arrived if each.fingerprint not in known]
    room = max(0, most - _told_today(connection, snapshot)) if new else 0
    if len(new) <= room:
        return list(findings)
    surprises = _surprises(connection, snapshot)
    new.sort(
        key=lambda each: (-max((surprises.get(place, 0.0) for place in each.places), default=0.0), each.fingerprint)
    )
    held = {each.fingerprint for each in new[room:]}
    return [
        _held(each, snapshot, most) if each.rule_id == shipped.ANOMALY_RULE and each.fingerprint in held else each
        for each in findings
    ]


def _held(finding: Finding, snapshot: SnapshotRef, most: int) -> Finding:
    """The finding as one of the alert that holds all of this day."""
    day = snapshot.end.astimezone(UTC).date().isoformat()
    digest = blake2b(f"{finding.rule_id} {day}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return replace(
        finding,
        rule_title=f"{finding.rule_title}: held back, beyond {most} alerts on {day}",
        fingerprint=f"{shipped.HELD_BACK}{digest}",
        group={},
        telling=replace(finding.telling, cooldown=_DAY),
    )


def _told_today(connection: Connection, snapshot: SnapshotRef) -> int:
    begin = datetime.combine(snapshot.end.astimezone(UTC).date(), datetime.min.time(), tzinfo=UTC)
    columns = alerts.c
    return (
        connection.scalar(
            select(func.count())
            .where(columns.host_id == snapshot.host_id, columns.rule_id == shipped.ANOMALY_RULE)
            .where(columns.end >= begin, columns.opened_at >= begin, columns.opened_at < begin + _DAY)
            .where(columns.fingerprint.not_like(f"{shipped.HELD_BACK}%"))
        )
        or 0
    )


def _surprises(connection: Connection, snapshot: SnapshotRef) -> dict[tuple[int, int, int], float]:
    """Those of the snapshot's unusual rows, by their places."""
    columns = observations.c
    rows = connection.execute(
        select(columns.seq, columns.key_id, columns.session, columns.surprise).where(
            columns.host_id == snapshot.host_id, columns.seq == snapshot.seq, columns.surprise.is_not(None)
        )
    )
    return {(seq, key_id, session): surprise for seq, key_id, session, surprise in rows}
