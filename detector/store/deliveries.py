"""How each channel stands, and what is sent once more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, case, func, or_, select, update

from detector.domain import NotificationState
from detector.store.counting import number_of
from detector.store.outbox import messages_since
from detector.store.tables import notifications

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = notifications.c
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStanding:
    """What a channel has before it and behind it."""

    channel: str
    waiting: int = 0
    """Notifications that are not delivered yet, those under way included."""
    under_way: int = 0
    dead: int = 0
    delivered: int = 0
    waiting_since: datetime | None = None
    """Since when the oldest waits."""
    last_delivered_at: datetime | None = None
    last_failed_at: datetime | None = None
    last_error: str | None = None
    without_chart: int = 0
    """Messages that were delivered without their chart."""
    last_chart_fault: str | None = None
    messages_last_minute: int = 0
    messages_last_hour: int = 0


def channel_standings(connection: Connection, now: datetime) -> dict[str, ChannelStanding]:
    """How each channel of which anything is stored stands, by name; at most a few, whatever is in the outbox."""
    pending = _COLUMNS.state == NotificationState.PENDING.value
    rows = connection.execute(
        select(
            _COLUMNS.channel,
            number_of(pending).label("waiting"),
            number_of(and_(pending, _COLUMNS.leased_until > now)).label("under_way"),
            number_of(_COLUMNS.state == NotificationState.DEAD.value).label("dead"),
            number_of(_COLUMNS.state == NotificationState.DELIVERED.value).label("delivered"),
            number_of(_COLUMNS.chart_fault.is_not(None)).label("without_chart"),
            func.min(case((pending, _COLUMNS.created_at))).label("waiting_since"),
            func.max(_COLUMNS.delivered_at).label("last_delivered_at"),
            func.max(_COLUMNS.failed_at).label("last_failed_at"),
        ).group_by(_COLUMNS.channel)
    ).mappings()
    return {
        row["channel"]: ChannelStanding(
            **row,
            last_error=_error_at(connection, row["channel"], row["last_failed_at"]),
            last_chart_fault=_last_chart_fault(connection, row["channel"]) if row["without_chart"] else None,
            messages_last_minute=messages_since(connection, row["channel"], now - timedelta(minutes=1), now=now),
            messages_last_hour=messages_since(connection, row["channel"], now - timedelta(hours=1), now=now),
        )
        for row in rows.all()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """What became of notifications that are to be sent once more."""

    again: int
    """They were dead or delivered, and are sent anew."""
    at_once: int
    """They waited, and are not kept waiting."""


def resend(
    connection: Connection,
    *,
    now: datetime,
    notification_ids: Sequence[int] = (),
    channel: str | None = None,
    dead: bool = False,
) -> Resent:
    """Has notifications sent once more, in their old order before all that is new.

    What is under way is left alone. What waits for its next attempt is tried at once.

    Args:
        notification_ids: these, whatever became of them. Without any: those that wait or are dead.
        channel: only of this channel.
        dead: only the dead.
    """
    free = or_(_COLUMNS.leased_until.is_(None), _COLUMNS.leased_until <= now)
    chosen = [free]
    if notification_ids:
        chosen.append(_COLUMNS.notification_id.in_(notification_ids))
    if channel is not None:
        chosen.append(_COLUMNS.channel == channel)
    done = [NotificationState.DEAD.value]
    if notification_ids and not dead:
        done.append(NotificationState.DELIVERED.value)
    waiting = 0
    if not dead:
        waiting = connection.execute(
            update(notifications)
            .where(*chosen, _COLUMNS.state == NotificationState.PENDING.value)
            .values(next_attempt_at=_AT_ONCE)
        ).rowcount
    again = connection.execute(
        update(notifications)
        .where(*chosen, _COLUMNS.state.in_(done))
        .values(
            state=NotificationState.PENDING,
            attempts=0,
            # From here on counts the time after which it is given up.
            created_at=now,
            next_attempt_at=_AT_ONCE,
            delivered_at=None,
            leased_until=None,
            leased_by=None,
            told_with=None,
            chart_fault=None,
        )
    ).rowcount
    return Resent(again=again, at_once=waiting)


def known_ids(connection: Connection, notification_ids: Sequence[int]) -> set[int]:
    """Those of these numbers that notifications have."""
    found = select(_COLUMNS.notification_id).where(_COLUMNS.notification_id.in_(notification_ids))
    return set(connection.scalars(found))


def _error_at(connection: Connection, channel: str, failed_at: datetime | None) -> str | None:
    if failed_at is None:
        return None
    found = select(_COLUMNS.last_error).where(_COLUMNS.channel == channel, _COLUMNS.failed_at == failed_at)
    return connection.scalar(found.order_by(_COLUMNS.notification_id.desc()).limit(1))


def _last_chart_fault(connection: Connection, channel: str) -> str | None:
    found = select(_COLUMNS.chart_fault).where(_COLUMNS.channel == channel, _COLUMNS.chart_fault.is_not(None))
    return connection.scalar(found.order_by(_COLUMNS.delivered_at.desc(), _COLUMNS.notification_id.desc()).limit(1))
