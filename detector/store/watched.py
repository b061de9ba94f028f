"""What is undelivered, open, held back and refused: figures that are asked for again and again, by indexes alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import AlertState, NotificationState, Severity
from detector.store.held_back import held_alerts
from detector.store.outbox import messages_since
from detector.store.tables import (
    alert_silences,
    alerts,
    detection_cursors,
    held_findings,
    hosts,
    notifications,
    rule_faults,
    snapshots,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_RECENTLY = timedelta(minutes=5)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_UNDELIVERED = (NotificationState.PENDING, NotificationState.DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFigures:
    """What a channel has before it, and how fast it takes it."""

    pending: int = 0
    dead: int = 0
    waiting_since: datetime | None = None
    slowest_seconds: float | None = None
    """Of what was delivered in the last five minutes."""
    messages_last_hour: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFigures:
    """What is open, and what keeps quiet."""

    open: dict[Severity, int]
    silenced: int
    silences: int


def channel_figures(connection: Connection, now: datetime) -> dict[str, ChannelFigures]:
    """By channel, those of which something waits, was given up, or was sent in the last hour."""
    columns = notifications.c
    undelivered: dict[str, dict[str, tuple[int, datetime]]] = {}
    for state in _UNDELIVERED:
        rows = connection.execute(
            select(columns.channel, func.count().label("number"), func.min(columns.created_at).label("since"))
            .where(columns.state == state.value)
            .group_by(columns.channel)
        )
        for row in rows:
            undelivered.setdefault(row.channel, {})[state.value] = (row.number, row.since)
    recent = connection.execute(
        select(columns.created_at, columns.delivered_at, columns.channel).where(
            columns.channel.in_(known_channels(connection)), columns.delivered_at > now - _RECENTLY
        )
    ).all()
    slowest: dict[str, float] = {}
    for row in recent:
        took = (row.delivered_at - row.created_at).total_seconds()
        slowest[row.channel] = max(took, slowest.get(row.channel, 0.0))
    found = {}
    for channel in known_channels(connection):
        waits = undelivered.get(channel, {})
        pending, since = waits.get(NotificationState.PENDING.value, (0, None))
        found[channel] = ChannelFigures(
            pending=pending,
            dead=waits.get(NotificationState.DEAD.value, (0, None))[0],
            waiting_since=since,
            slowest_seconds=slowest.get(channel),
            messages_last_hour=messages_since(connection, channel, now - _HOUR, now=now),
        )
    return found


def known_channels(connection: Connection) -> list[str]:
    """The channels of the outbox: a step each through the index, however much is in it."""
    column = notifications.c.channel
    found: list[str] = []
    name = connection.scalar(select(func.min(column)))
    while name is not None:
        found.append(name)
        name = connection.scalar(select(func.min(column)).where(column > name))
    return found


def alert_figures(connection: Connection, now: datetime) -> AlertFigures:
    """Of alerts that are not over, and of silences in force."""
    columns, muting = alerts.c, alert_silences.c
    unsettled = columns.state.in_([AlertState.WAITING.value, AlertState.OPEN.value])
    number = dict.fromkeys(Severity, 0)
    rows = connection.execute(select(columns.severity, func.count()).where(unsettled).group_by(columns.severity))
    number |= {Severity(severity): count for severity, count in rows}
    silenced = connection.scalar(
        select(func.count()).select_from(alerts).where(unsettled, columns.silenced_by.is_not(None))
    )
    in_force = connection.scalar(
        select(func.count()).select_from(alert_silences).where(muting.starts_at <= now, muting.ends_at > now)
    )
    return AlertFigures(open=number, silenced=silenced or 0, silences=in_force or 0)


def waiting_snapshots(connection: Connection) -> dict[str, int]:
    """By host the stored snapshots that detection has not seen, by their numbers."""
    newest = select(func.max(snapshots.c.seq)).where(snapshots.c.host_id == hosts.c.host_id).scalar_subquery()
    seen = select(detection_cursors.c.seq).where(detection_cursors.c.host_id == hosts.c.host_id).scalar_subquery()
    rows = connection.execute(select(hosts.c.host, newest.label("newest"), seen.label("seen")))
    return {row.host: max((row.newest or 0) - (row.seen or 0), 0) for row in rows}


def capped(connection: Connection, now: datetime) -> dict[str, int]:
    """By host what was found in the last day beyond the most alerts that its scores may open."""
    found = dict.fromkeys(connection.scalars(select(hosts.c.host)), 0)
    for alert in held_alerts(connection, since=now - _DAY):
        found[alert.host] += alert.finding_count
    return found


def held_in_burn_in(connection: Connection) -> dict[str, int]:
    """By host what rules found of which nobody is told yet."""
    rows = connection.execute(
        select(hosts.c.host, func.coalesce(func.sum(held_findings.c.findings), 0))
        .outerjoin(held_findings, held_findings.c.host_id == hosts.c.host_id)
        .group_by(hosts.c.host)
    )
    return {host: int(number) for host, number in rows}


def refused_files(connection: Connection) -> dict[str, int]:
    """By the host that it was told of, how many rule files are refused."""
    columns = rule_faults.c
    rows = connection.execute(
        select(hosts.c.host, func.sum(columns.files))
        .join(hosts, hosts.c.host_id == columns.host_id)
        .where(columns.ended_at.is_(None))
        .group_by(hosts.c.host)
    )
    return {host: int(number) for host, number in rows}
