"""The outbox: notifications that wait for delivery, are under way, delivered, or dead.

Whoever takes notifications leases them first, in a transaction of its own, and no transaction is open while the network
is. Should the process die in between, they become due again when another one of the same machine notices, or when the
lease ends.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, Integer, Text, and_, bindparam, func, or_, select, update

from detector.domain import Backlog, NotificationState
from detector.store.alerts import ALERT_FIELDS, NOTIFICATION_FIELDS, alert_from, notification_from, read_alert
from detector.store.columns import UtcDateTime
from detector.store.engine import reading, writing
from detector.store.holders import has_ended, this_process
from detector.store.notices import read as read_notice
from detector.store.tables import alerts, hosts, notifications

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Any

    from sqlalchemy import BindParameter, ColumnElement, Select

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
                    .where(_due_at(now))
                    .group_by(_COLUMNS.channel)
                    .order_by(func.min(_COLUMNS.notification_id))
                )
            )

    def free_abandoned(self, now: datetime) -> int:
        """Makes due what processes of this machine hold that have ended; how many."""
        held = and_(_PENDING, _COLUMNS.leased_until > now)
        with reading(self._engine) as connection:
            holders = connection.scalars(
                select(_COLUMNS.leased_by).where(held, _COLUMNS.leased_by.is_not(None)).distinct()
            ).all()
        ended = [each for each in holders if has_ended(each)]
        if not ended:
            return 0
        with writing(self._engine) as connection:
            freed = update(notifications).where(held, _COLUMNS.leased_by.in_(ended))
            return connection.execute(freed.values(leased_until=None, leased_by=None)).rowcount

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
        with writing(self._engine) as connection:
            if delivered:
                _mark_delivered(connection, delivered, now)
            asked = {"now": now, "later": now + _LONGEST_WAIT, "channel": channel, "patience": patience}
            row = connection.execute(_NEXT, asked).mappings().first()
            if row is None:
                return []
            first = notification_from({name: row[_COLUMNS[name]] for name in NOTIFICATION_FIELDS})
            # Asked when the first is held: whoever had it before has said by now that its message was sent.
            count = 1 if share is None else share(_backlog(connection, channel, now, patience))
            if count < 1:
                return []
            lease = {"leased_until": leased_until, "leased_by": this_process()}
            if first.notice_id is not None:
                _set(connection, _among([first.notification_id]), **lease)
                return [(first, _notice(connection, first.notice_id))]
            named = {name: hosts.c.host if name == "host" else alerts.c[name] for name in ALERT_FIELDS}
            taken = [(first, alert_from({name: row[column] for name, column in named.items()}))]
            if count > 1 and first.attempts < patience:
                taken += _others(connection, first, now, patience, min(count, _MOST_TOGETHER) - 1)
                del taken[max(fitting(taken), 1) :]
            _set(connection, _among([each.notification_id for each, _ in taken]), **lease)
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
                leased_by=None,
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
                leased_by=None,
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
    message = func.coalesce(_COLUMNS.told_with, _COLUMNS.notification_id)
    in_time = (_COLUMNS.delivered_at > since, _COLUMNS.delivered_at <= now)
    return connection.scalar(select(func.count(message.distinct())).where(_COLUMNS.channel == channel, *in_time)) or 0


def _mark_delivered(
    connection: Connection, notification_ids: Sequence[int], now: datetime, chart_fault: str | None = None
) -> None:
    together = {"told_with": notification_ids[0]} if len(notification_ids) > 1 else {}
    _set(
        connection,
        _among(notification_ids),
        state=NotificationState.DELIVERED,
        attempts=_COLUMNS.attempts + 1,
        delivered_at=now,
        leased_until=None,
        leased_by=None,
        chart_fault=chart_fault,
        **together,
    )


def _due_at(now: datetime) -> ColumnElement[bool]:
    return _due(now, now + _LONGEST_WAIT)


def _due(now: datetime | BindParameter[datetime], later: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """What may be taken now; `later` is so much later that nothing waits until then."""
    leased, again = _COLUMNS.leased_until, _COLUMNS.next_attempt_at
    free = or_(leased.is_(None), leased <= now, leased > later)
    return and_(_PENDING, or_(again <= now, again > later), free)


def _next() -> Select[Any]:
    """A channel's next notification, with its alert if it is of one; made once, since it is asked for each message."""
    now: BindParameter[datetime] = bindparam("now", type_=UtcDateTime)
    later: BindParameter[datetime] = bindparam("later", type_=UtcDateTime)
    channel: BindParameter[str] = bindparam("channel", type_=Text)
    patience: BindParameter[int] = bindparam("patience", type_=Integer)
    oldest = select(func.min(_COLUMNS.notification_id)).where(
        _PENDING, _COLUMNS.channel == channel, _COLUMNS.attempts < patience
    )
    return (
        select(notifications, alerts, hosts.c.host)
        .outerjoin(alerts, alerts.c.alert_id == _COLUMNS.alert_id)
        .outerjoin(hosts, hosts.c.host_id == alerts.c.host_id)
        .where(
            _due(now, later),
            _COLUMNS.channel == channel,
            or_(_COLUMNS.attempts >= patience, _COLUMNS.notification_id == oldest.scalar_subquery()),
        )
        .order_by(_COLUMNS.notification_id)
        .limit(1)
        .with_for_update(skip_locked=True, of=notifications)
    )


_NEXT = _next()


def _backlog(connection: Connection, channel: str, now: datetime, patience: int) -> Backlog:
    waiting = select(func.count()).where(_due_at(now), _COLUMNS.channel == channel, _COLUMNS.attempts < patience)
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
            _due_at(now),
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
    if len(notification_ids) == 1:
        return _COLUMNS.notification_id == notification_ids[0]
    return _COLUMNS.notification_id.in_(notification_ids)


def _set(connection: Connection, which: ColumnElement[bool], **values: Any) -> None:
    connection.execute(update(notifications).where(which).values(**values))
