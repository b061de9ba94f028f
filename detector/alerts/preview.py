"""What a silence would have muted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from detector.alerts.values import all_of
from detector.domain import NotificationState, Severity
from detector.matchers import facts_of, hold
from detector.store.tables import alerts, hosts, notifications

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from detector.matchers import Matcher

_AT_ONCE = 1000
# More than half of all alerts is more than one incident's worth, unless there are only a few.
_FEW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Muted:
    """An alert that would have been muted."""

    alert_id: int
    host: str
    rule_title: str
    end: datetime
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a silence would have done to the alerts of some time."""

    alerts: int
    """How many there were."""
    muted: tuple[Muted, ...]
    """The last first."""
    messages: int
    """How many were sent of those."""

    @property
    def is_most(self) -> bool:
        """Whether it would have muted more than half of all alerts, of which there were more than a few."""
        return self.alerts > _FEW and 2 * len(self.muted) > self.alerts


def preview(connection: Connection, matchers: Sequence[Matcher], since: datetime) -> Preview:
    """Compares with the alerts that were still going on after `since`, as they stand now.

    Where the values of an alert's rows are kept no more, it goes by what its rows have in common.
    """
    columns = alerts.c
    rows = connection.execute(
        select(
            *(columns.alert_id, hosts.c.host, columns.rule_id, columns.rule_title, columns.severity, columns.group),
            *(columns.end, columns.summary, columns.common),
        )
        .join(hosts, hosts.c.host_id == columns.host_id)
        .where(columns.end > since)
        .order_by(columns.end.desc(), columns.alert_id.desc())
    ).all()
    muted: list[Muted] = []
    messages = 0
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        values = all_of(connection, {row.alert_id: row.common for row in some})
        found = [
            Muted(alert_id=row.alert_id, host=row.host, rule_title=row.rule_title, end=row.end, summary=row.summary)
            for row in some
            if hold(
                matchers,
                facts_of(
                    host=row.host,
                    rule=(row.rule_id, row.rule_title),
                    severity=Severity(row.severity),
                    group=row.group,
                    values=values[row.alert_id],
                ),
            )
        ]
        messages += _sent(connection, [each.alert_id for each in found])
        muted += found
    return Preview(alerts=len(rows), muted=tuple(muted), messages=messages)


def _sent(connection: Connection, alert_ids: Sequence[int]) -> int:
    columns = notifications.c
    statement = (
        select(func.count())
        .select_from(notifications)
        .where(columns.alert_id.in_(alert_ids), columns.state != NotificationState.WITHHELD.value)
    )
    return connection.scalar(statement) or 0 if alert_ids else 0
