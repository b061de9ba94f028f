"""The outbox: notifications that wait for delivery, are under way, delivered, or dead.

Whoever takes notifications leases them first, in a transaction of its own, and no transaction is open while the network
is. Should the process die in between, they become due again when the lease ends.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, and_, func, or_, select, update

from detector.domain import Backlog, NotificationState
from detector.store.alerts import notification_from, read_alert
from detector.store.engine import reading, writing
from detector.store.notices import read as read_notice
from detector.store.tables import notifications

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Any

    from sqlalchemy import ColumnElement

    from detector.domain import Alert, Notice, Notification

_COLUMNS = notifications.c
_PENDING = _COLUMNS.state == NotificationState.PENDING.value
# More than any message has room for.
_MOST_TOGETHER = 200
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
# Nothing is leased or put off for longer: what seems to be was written while the clock was ahead.
_LONGEST_WAIT = _HOUR


class StoredOutbox:
    """The outbox of a database. Each method is one short transaction; any number of processes may share one outbox.

    All methods raise StoreError when the database is away.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due_channels(self, now: datetime) -> list[str]:
        """The channels for which something is due, those first that have waited longest."""
        with reading(self._engine) as connection:
            return list(
                connection.scalars(
                    select(_COLUMNS.channel)
                    .where(_due(now))
                    .group_by(_COLUMNS.channel)
                    .order_by(func.min(_COLUMNS.notification_id))
                )
            )

    def claim(
        self,
        channel: str,
        *,
        now: datetime,
        leased_until: datetime,
        patience: int,
        share: Callable[[Backlog], int] | None = None,
        fitting: Callable[[Sequence[tuple[Notification, Alert]]], int] = len,
        delivered: Sequence[int] = (),
    ) -> list[tuple[Notification, Alert | Notice]]:
        """Takes the channel's next notifications, with their alerts as they stand now; none when none may be sent.

        A notice has a message of its own: it is taken alone.

        They are sent in the order in which they were written: what waits for a retry, or is under way elsewhere, holds
        up those behind it. But one that has failed `patience` times may be the fault itself, is overtaken, and is sent
        alone.

        Args:
            share: how many may be sent together, from what waits and what was sent; None: one.
            fitting: how many of so many first ones one message has room for.
            delivered: those before, of which one message was just taken: see `mark_delivered`.
        """
        oldest = select(func.min(_COLUMNS.notification_id)).where(
            _PENDING, _COLUMNS.channel == channel, _COLUMNS.attempts < patience
        )
        next_one = (
            select(notifications)
            .where(
                _due(now),
                _COLUMNS.channel == channel,
                or_(_COLUMNS.attempts >= patience, _COLUMNS.notification_id == oldest.scalar_subquery()),
            )
            .order_by(_COLUMNS.notification_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            if delivered:
                _mark_delivered(connection, delivered, now)
            row = connection.execute(next_one).mappings().first()
            if row is None:
                return []
            first = notification_from(row)
            # Asked when the first is held: whoever had it before has said by now that its message was sent.
            count = 1 if share is None else share(_backlog(connection, channel, now, patience))
            if count < 1:
                return []
            if first.notice_id is not None:
                _set(connection, _among([first.notification_id]), leased_until=leased_until)
                return [(first, _notice(connection, first.notice_id))]
            taken = [(first, _alert(connection, first))]
            if count > 1 and first.attempts < patience:
                taken += _others(connection, first, now, patience, min(count, _MOST_TOGETHER) - 1)
                del taken[max(fitting(taken), 1) :]
            _set(connection, _among([each.notification_id for each, _ in taken]), leased_until=leased_until)
        return list(taken)

    def mark_delivered(self, notification_ids: Sequence[int], *, now: datetime, chart_fault: str | None = None) -> None:
        """One message with all of them was taken, whatever another process that held them too may have said.

        Args:
            notification_ids: theirs, the first of them first.
            now: when.
            chart_fault: why it had no chart, where one belongs.
        """
        with writing(self._engine) as connection:
            _mark_delivered(connection, notification_ids, now, chart_fault)

    def mark_failed(
        self,
        notification_ids: Sequence[int],
        *,
        leased_until: datetime,
        error: str,
        now: datetime,
        next_attempt_at: datetime,
    ) -> None:
        """They are tried again later; unless another process has taken them meanwhile, whose word counts."""
        with writing(self._engine) as connection:
            _set(
                connection,
                and_(_among(notification_ids), _PENDING, _COLUMNS.leased_until == leased_until),
                attempts=_COLUMNS.attempts + 1,
                last_error=error,
                failed_at=now,
                leased_until=None,
                next_attempt_at=next_attempt_at,
            )

    def mark_dead(self, notification_ids: Sequence[int], *, leased_until: datetime, error: str, now: datetime) -> None:
        """They are kept and shown, and not tried again; unless another process has taken them meanwhile."""
        with writing(self._engine) as connection:
            _set(
                connection,
                and_(_among(notification_ids), _PENDING, _COLUMNS.leased_until == leased_until),
                state=NotificationState.DEAD,
                attempts=_COLUMNS.attempts + 1,
                last_error=error,
                failed_at=now,
                leased_until=None,
            )


def list_notifications(
    connection: Connection, *, state: NotificationState | None = None, limit: int = 100
) -> list[Notification]:
    """At most `limit` notifications, the newest first; of one `state` only, or of all."""
    statement = select(notifications).order_by(_COLUMNS.notification_id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(_COLUMNS.state == state.value)
    return [notification_from(row) for row in connection.execute(statement).mappings()]


def messages_since(connection: Connection, channel: str, since: datetime, *, now: datetime) -> int:
    """How many messages a channel has taken since then; one that told of several notifications is one.

    What is said to be sent after `now` was so while the clock was ahead.
    """
    message = func.coalesce(_COLUMNS.digest_id, _COLUMNS.notification_id)
    in_time = (_COLUMNS.delivered_at > since, _COLUMNS.delivered_at <= now)
    return connection.scalar(select(func.count(message.distinct())).where(_COLUMNS.channel == channel, *in_time)) or 0


def _mark_delivered(
    connection: Connection, notification_ids: Sequence[int], now: datetime, chart_fault: str | None = None
) -> None:
    together = {"digest_id": notification_ids[0]} if len(notification_ids) > 1 else {}
    _set(
        connection,
        _among(notification_ids),
        state=NotificationState.DELIVERED,
        attempts=_COLUMNS.attempts + 1,
        delivered_at=now,
        leased_until=None,
        chart_fault=chart_fault,
        **together,
    )


def _due(now: datetime) -> ColumnElement[bool]:
    later = now + _LONGEST_WAIT
    leased, again = _COLUMNS.leased_until, _COLUMNS.next_attempt_at
    free = or_(leased.is_(None), leased <= now, leased > later)
    return and_(_PENDING, or_(again <= now, again > later), free)


def _backlog(connection: Connection, channel: str, now: datetime, patience: int) -> Backlog:
    waiting = select(func.count()).where(_due(now), _COLUMNS.channel == channel, _COLUMNS.attempts < patience)
    return Backlog(
        # What is sent alone, since it has failed so often, is not among them.
        waiting=max(connection.scalar(waiting) or 0, 1),
        last_minute=messages_since(connection, channel, now - _MINUTE, now=now),
        last_hour=messages_since(connection, channel, now - _HOUR, now=now),
    )


def _others(
    connection: Connection, first: Notification, now: datetime, patience: int, count: int
) -> list[tuple[Notification, Alert]]:
    behind = (
        select(notifications)
        .where(
            _due(now),
            _COLUMNS.channel == first.channel,
            _COLUMNS.attempts < patience,
            _COLUMNS.notification_id > first.notification_id,
        )
        .order_by(_COLUMNS.notification_id)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    found = [notification_from(row) for row in connection.execute(behind).mappings().all()]
    # What stands behind a notice comes after it.
    return [(each, _alert(connection, each)) for each in takewhile(lambda each: each.notice_id is None, found)]


def _alert(connection: Connection, notification: Notification) -> Alert:
    # It is not of a notice, and a foreign key says that the alert exists.
    assert notification.alert_id is not None  # noqa: S101
    alert = read_alert(connection, notification.alert_id)
    assert alert is not None  # noqa: S101
    return alert


def _notice(connection: Connection, notice_id: int) -> Notice:
    notice = read_notice(connection, notice_id)
    # As before.
    assert notice is not None  # noqa: S101
    return notice


def _among(notification_ids: Sequence[int]) -> ColumnElement[bool]:
    return _COLUMNS.notification_id.in_(notification_ids)


def _set(connection: Connection, which: ColumnElement[bool], **values: Any) -> None:
    connection.execute(update(notifications).where(which).values(**values))
