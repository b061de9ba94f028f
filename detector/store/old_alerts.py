"""Deletes alerts that have expired, and what is behind alerts when there is no room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, func, literal, select, tuple_

from detector.domain import NotificationState
from detector.store.engine import reading, writing
from detector.store.tables import (
    alert_events,
    alert_values,
    alert_verdict_keys,
    alert_verdict_rows,
    alert_verdict_subjects,
    alert_verdicts,
    alerts,
    evidence,
    findings,
    notifications,
    snapshots,
    unanswered,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, Table

_OF_AN_ALERT = (
    *(evidence, alert_values, findings, notifications, alert_events),
    *(alert_verdict_subjects, alert_verdict_keys, alert_verdict_rows),
)


def expired(connection: Connection, *, before: datetime, limit: int) -> list[int]:
    """The numbers of up to so many alerts that ended before a moment; less those of which something is to be sent."""
    return list(connection.scalars(select(alerts.c.alert_id).where(*_over(before)).order_by(alerts.c.end).limit(limit)))


def waits(connection: Connection, *, before: datetime) -> int:
    """How many alerts have expired."""
    return connection.scalar(select(func.count()).select_from(alerts).where(*_over(before))) or 0


def _over(before: datetime) -> list[ColumnElement[bool]]:
    waiting = exists().where(
        notifications.c.alert_id == alerts.c.alert_id, notifications.c.state == NotificationState.PENDING
    )
    return [alerts.c.end < before, ~waiting]


def expire(engine: Engine, *, before: datetime, limit: int) -> int:
    """Deletes up to so many rows of alerts that ended before a moment, the alerts themselves last; returns how many.

    Raises:
        StoreError: the database is away.
    """
    with writing(engine) as connection:
        some = expired(connection, before=before, limit=max(limit // 10, 1))
        gone = 0
        for alert_id in some:
            for table in _OF_AN_ALERT:
                gone += _delete_of(connection, table, alert_id, limit - gone)
                if gone >= limit:
                    return gone
            for table in (alert_verdicts, unanswered):
                connection.execute(delete(table).where(table.c.alert_id == alert_id))
            gone += connection.execute(delete(alerts).where(alerts.c.alert_id == alert_id)).rowcount
    return gone


def _delete_of(
    connection: Connection, table: Table, alert_id: int, limit: int, *conditions: ColumnElement[bool]
) -> int:
    """The first rows that an alert has in a table, in the order of its keys; the first ones are those that meet the
    conditions.
    """
    first, *_ = table.primary_key
    keys = [column for column in table.primary_key if column.name != "alert_id"]
    of_alert = table.c.alert_id == alert_id
    some = connection.execute(select(*keys).where(of_alert, *conditions).order_by(*keys).limit(limit)).all()
    if not some:
        return 0
    if first.name == "alert_id":
        # Up to the last one: thousands of keys, each by itself, would take Postgres a second to plan. Without the
        # conditions, which those before it meet: SQLite would look at all rows that do.
        which = tuple_(*keys) <= tuple_(*(literal(value, key.type) for key, value in zip(keys, some[-1], strict=True)))
    else:
        which = tuple_(*keys).in_([tuple(row) for row in some])
    connection.execute(delete(table).where(of_alert, which))
    return len(some)


def evidence_without_rows(engine: Engine, host_id: int, *, limit: int) -> int:
    """Deletes up to so many places of rows behind a host's alerts whose snapshots have expired; returns how many.

    Such rows cannot be shown any more, but name keys, which stay on that account.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        oldest = connection.scalar(
            select(snapshots.c.seq).where(snapshots.c.host_id == host_id).order_by(snapshots.c.seq).limit(1)
        )
        unshown = exists().where(evidence.c.alert_id == alerts.c.alert_id, evidence.c.seq < (oldest or 0))
        numbers = list(connection.scalars(select(alerts.c.alert_id).where(alerts.c.host_id == host_id, unshown)))
    gone = 0
    for alert_id in numbers:
        with writing(engine) as connection:
            gone += _delete_of(connection, evidence, alert_id, limit - gone, evidence.c.seq < (oldest or 0))
        if gone >= limit:
            break
    return gone


def found_by_lasting(engine: Engine, *, before: datetime, limit: int) -> int:
    """Deletes up to so many findings from before a moment, with the places of the rows that they named, of alerts that
    began before it and have gone on since; returns how many. What something finds in each snapshot for years would grow
    for as long, and for nobody.

    Raises:
        StoreError: the database is away.
    """
    old = exists().where(findings.c.alert_id == alerts.c.alert_id, findings.c.end < before)
    with reading(engine) as connection:
        numbers = list(
            connection.scalars(
                select(alerts.c.alert_id).where(alerts.c.opened_at < before, alerts.c.end >= before, old)
            )
        )
    gone = 0
    for alert_id in numbers:
        with writing(engine) as connection:
            # First the places: without its findings it could not be told which of them are old.
            young = select(func.min(findings.c.seq)).where(findings.c.alert_id == alert_id, findings.c.end >= before)
            since = connection.scalar(young)
            if since is not None:
                gone += _delete_of(connection, evidence, alert_id, limit - gone, evidence.c.seq < since)
            if gone < limit:
                gone += _delete_of(connection, findings, alert_id, limit - gone, findings.c.end < before)
        if gone >= limit:
            break
    return gone


def values_of_old(engine: Engine, host_id: int, *, before: datetime, limit: int) -> int:
    """Deletes what differed among the rows of alerts that ended before a moment, which is for those that still grow.

    Raises:
        StoreError: the database is away.
    """
    with writing(engine) as connection:
        numbers = connection.scalars(
            select(alerts.c.alert_id)
            .where(alerts.c.host_id == host_id, alerts.c.end < before)
            .where(exists().where(alert_values.c.alert_id == alerts.c.alert_id))
            .limit(10)
        ).all()
        gone = 0
        for alert_id in numbers:
            if gone < limit:
                gone += _delete_of(connection, alert_values, alert_id, limit - gone)
    return gone
