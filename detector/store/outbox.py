"""The outbox: notifications that wait for delivery, are under way, delivered, or dead.

A notification under way is one whose next attempt lies in the future: whoever takes it moves that time on first (a
lease), in a transaction of its own, and no transaction is open while the network is. Should the process die in
between, the notification becomes due again when the lease ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, and_, func, or_, select, update

from detector.domain import NotificationState
from detector.store.alerts import notification_from, read_alert
from detector.store.engine import reading, writing
from detector.store.tables import notifications

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from sqlalchemy import ColumnElement

    from detector.domain import Alert, Notification

_PENDING = notifications.c.state == NotificationState.PENDING.value


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
                    select(notifications.c.channel)
                    .where(_PENDING, notifications.c.next_attempt_at <= now)
                    .group_by(notifications.c.channel)
                    .order_by(func.min(notifications.c.notification_id))
                )
            )

    def claim(
        self, channel: str, *, now: datetime, leased_until: datetime, patience: int
    ) -> tuple[Notification, Alert] | None:
        """Takes the channel's next notification, with its alert as it stands now; None when none may be sent.

        They are sent in the order in which they were written: what waits for a retry, or is under way elsewhere, holds
        up those behind it. But one that has failed `patience` times may be the fault itself, and is overtaken.
        """
        oldest = select(func.min(notifications.c.notification_id)).where(
            _PENDING, notifications.c.channel == channel, notifications.c.attempts < patience
        )
        next_one = (
            select(notifications)
            .where(
                _PENDING,
                notifications.c.channel == channel,
                notifications.c.next_attempt_at <= now,
                or_(notifications.c.attempts >= patience, notifications.c.notification_id == oldest.scalar_subquery()),
            )
            .order_by(notifications.c.notification_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            row = connection.execute(next_one).mappings().first()
            if row is None:
                return None
            notification = notification_from(row)
            _set(connection, _is(notification.notification_id), next_attempt_at=leased_until)
            alert = read_alert(connection, notification.alert_id)
        # A foreign key says that it exists.
        assert alert is not None  # noqa: S101
        return notification, alert

    def mark_delivered(self, notification_id: int, *, attempts: int, now: datetime) -> None:
        """The channel has taken it, whatever another process that held it too may have said."""
        with writing(self._engine) as connection:
            _set(
                connection,
                _is(notification_id),
                state=NotificationState.DELIVERED,
                attempts=attempts,
                delivered_at=now,
                last_error=None,
            )

    def mark_failed(self, notification_id: int, *, attempts: int, error: str, next_attempt_at: datetime) -> None:
        """It is tried again later."""
        with writing(self._engine) as connection:
            _set(
                connection,
                and_(_is(notification_id), _PENDING),
                attempts=attempts,
                last_error=error,
                next_attempt_at=next_attempt_at,
            )

    def mark_dead(self, notification_id: int, *, attempts: int, error: str) -> None:
        """It is kept and shown, and not tried again."""
        with writing(self._engine) as connection:
            _set(
                connection,
                and_(_is(notification_id), _PENDING),
                state=NotificationState.DEAD,
                attempts=attempts,
                last_error=error,
            )


def list_notifications(
    connection: Connection, *, state: NotificationState | None = None, limit: int = 100
) -> list[Notification]:
    """At most `limit` notifications, the newest first; of one `state` only, or of all."""
    statement = select(notifications).order_by(notifications.c.notification_id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(notifications.c.state == state.value)
    return [notification_from(row) for row in connection.execute(statement).mappings()]


def _is(notification_id: int) -> ColumnElement[bool]:
    return notifications.c.notification_id == notification_id


def _set(connection: Connection, which: ColumnElement[bool], **values: Any) -> None:
    connection.execute(update(notifications).where(which).values(**values))
