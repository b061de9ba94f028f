"""What people are told that is no alert, in the outbox with the alerts. Once, however many workers want to tell it."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, insert, select

from detector.domain import Notice, NotificationState, Severity
from detector.store.tables import notices, notifications

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, RowMapping

_COLUMNS = notices.c
_FIELDS = tuple(each.name for each in fields(Notice))
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


def tell(
    connection: Connection,
    *,
    kind: str,
    subject: str,
    content: Mapping[str, Any],
    channels: Collection[str],
    now: datetime,
    severity: Severity = Severity.INFORMATIONAL,
) -> int | None:
    """Writes a notice, and what is sent of it to each of `channels`; returns its number, or None: it was told before.

    Args:
        connection: the transaction: until it is committed, nobody is told anything.
        kind: what it is, up to 32 characters.
        subject: what it is about; of a kind and a subject there is one notice.
        content: what it says, as JSON has it.
        channels: by name.
        now: when it is written.
        severity: how it is marked.
    """
    notice_id = _write(connection, kind, subject, content, now, severity)
    if notice_id is not None and channels:
        sent = {"state": NotificationState.PENDING, "attempts": 0, "created_at": now, "next_attempt_at": _AT_ONCE}
        rows = [{"notice_id": notice_id, "channel": channel, "reason": kind, **sent} for channel in channels]
        connection.execute(insert(notifications), rows)
    return notice_id


def begin(connection: Connection, *, kind: str, subject: str, now: datetime) -> None:
    """Marks where a row of notices begins: what is about `subject` and before it is not told."""
    _write(connection, kind, subject, None, now, Severity.INFORMATIONAL)


def newest(connection: Connection, kind: str, *, until: datetime | None = None) -> Notice | None:
    """The one of a kind that was written last; None: none ever was.

    `until`: without those that were written later, by a clock that was ahead.
    """
    found = select(notices).where(_COLUMNS.kind == kind).order_by(_COLUMNS.notice_id.desc()).limit(1)
    if until is not None:
        found = found.where(_COLUMNS.created_at <= until)
    row = connection.execute(found).mappings().first()
    return None if row is None else _notice(row)


def read(connection: Connection, notice_id: int) -> Notice | None:
    """One notice; None when there is none of that number."""
    row = connection.execute(select(notices).where(_COLUMNS.notice_id == notice_id)).mappings().first()
    return None if row is None else _notice(row)


def forget(connection: Connection, *, before: datetime) -> None:
    """Deletes what was written before a moment and is not to be sent any more; of each kind the newest stays, which
    says what was told.
    """
    pending = exists().where(
        notifications.c.notice_id == _COLUMNS.notice_id, notifications.c.state == NotificationState.PENDING.value
    )
    kept = select(func.max(_COLUMNS.notice_id)).group_by(_COLUMNS.kind)
    old = list(
        connection.scalars(
            select(_COLUMNS.notice_id).where(_COLUMNS.created_at < before, ~pending, _COLUMNS.notice_id.not_in(kept))
        )
    )
    for notice_id in old:
        connection.execute(notifications.delete().where(notifications.c.notice_id == notice_id))
        connection.execute(notices.delete().where(_COLUMNS.notice_id == notice_id))


def _write(
    connection: Connection,
    kind: str,
    subject: str,
    content: Mapping[str, Any] | None,
    now: datetime,
    severity: Severity,
) -> int | None:
    # Here, since a collector has no need of them: 4 MB.
    from sqlalchemy.dialects import postgresql, sqlite

    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = {"kind": kind, "subject": subject, "content": content, "created_at": now, "severity": severity.value}
    # Whoever comes second waits until the first has committed, and then writes nothing.
    written = dialect.insert(notices).values(**values).on_conflict_do_nothing().returning(_COLUMNS.notice_id)
    notice_id: int | None = connection.scalar(written)
    return notice_id


def _notice(row: RowMapping) -> Notice:
    values = {name: row[name] for name in _FIELDS}
    return Notice(**values | {"severity": Severity(row["severity"])})
