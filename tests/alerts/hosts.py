"""Hosts whose snapshots give rise to findings, and what alerts came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import EvidenceRef, Finding, Severity
from detector.store.alerts import list_alerts, notifications_of
from detector.store.engine import reading, writing
from detector.store.tables import alerts as alerts_table
from detector.store.tables import findings as findings_table
from detector.store.tables import metadata
from tests.builders import Recorder, count, observe, stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine

    from detector.alerts.policy import Timing
    from detector.domain import Alert, ConnectionCount, Learning, Notification, SnapshotRef

MAIL = ChannelPolicy(name="mail", min_severity=Severity.LOW)
PAGER = ChannelPolicy(name="pager", min_severity=Severity.CRITICAL)


@dataclass
class Host:
    """A host whose snapshots give rise to findings."""

    engine: Engine
    channels: Sequence[ChannelPolicy] = (MAIL,)
    cooldown: timedelta = timedelta(minutes=10)
    timing: Timing | None = None
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.engine)

    def snapshot(self, *counts: ConnectionCount, **observed: Any) -> tuple[SnapshotRef, tuple[EvidenceRef, ...]]:
        """A snapshot whose rows all have the observation `observed`; with references to its rows."""
        ref = self.recorder.snapshot(*counts)
        rows = list(stored(self.engine, ref))
        observe(self.engine, ref, {row.key_id: observed for row in rows})
        return ref, tuple(EvidenceRef(seq=ref.seq, key_id=row.key_id, session=row.count.session) for row in rows)

    @property
    def book(self) -> AlertBook:
        """A new one each time, as after a restart."""
        return AlertBook(self.channels, self.cooldown, self.timing)

    def record(self, ref: SnapshotRef, *found: Finding, learning: Learning | None = None) -> None:
        """What detection does with findings; of a host that was watched for long, unless `learning` says otherwise."""
        with writing(self.engine) as connection:
            self.book.record(connection, ref, found, learning)

    def alerts(self) -> list[Alert]:
        """All alerts, the newest first."""
        with reading(self.engine) as connection:
            return list_alerts(connection)

    def decisions(self) -> list[str]:
        """What was decided, finding by finding."""
        with reading(self.engine) as connection:
            columns = findings_table.c
            return list(connection.scalars(select(columns.decision).order_by(columns.seq, columns.rule_id)))

    def sent(self, alert: Alert) -> list[tuple[str, str]]:
        """Channel and reason of an alert's notifications that are sent."""
        return [(each.channel, each.reason) for each in self._notifications(alert) if each.state != "withheld"]

    def withheld(self, alert: Alert) -> list[tuple[str, str]]:
        """Channels that are told nothing of an alert, each with the reason."""
        return [(each.channel, each.reason) for each in self._notifications(alert) if each.state == "withheld"]

    def _notifications(self, alert: Alert) -> list[Notification]:
        with reading(self.engine) as connection:
            return notifications_of(connection, alert.alert_id)


def finding(ref: SnapshotRef, evidence: Iterable[EvidenceRef], **values: Any) -> Finding:
    """A finding about a snapshot."""
    defaults: dict[str, Any] = {
        "rule_id": "vertical_scan",
        "rule_title": "Vertical port scan",
        "severity": Severity.MEDIUM,
        "fingerprint": "f" * 32,
        "group": {"user": "alice"},
        "start": ref.start,
        "end": ref.end,
    }
    return Finding(**defaults | values, evidence=tuple(evidence))


def scan(first: int, last: int, **values: Any) -> list[ConnectionCount]:
    """Refused connects to a span of ports."""
    return [count("127.0.0.1", port, attempted=1, refused=1, **values) for port in range(first, last + 1)]


def contents(engine: Engine) -> dict[str, list[str]]:
    """All that the book writes; alerts and notifications by what they are, not by their numbers."""
    with reading(engine) as connection:
        names = {
            row.alert_id: (row.host_id, row.fingerprint, row.opened_at)
            for row in connection.execute(select(alerts_table))
        }
        return {
            table.name: sorted(
                repr(
                    {
                        name: names[value] if name == "alert_id" else value
                        for name, value in row.items()
                        if name not in {"notification_id", "event_id"}
                    }
                )
                for row in connection.execute(select(table)).mappings()
            )
            for table in metadata.sorted_tables
            if table.name in {"alerts", "findings", "evidence", "alert_values", "notifications", "alert_events"}
        }
