"""Alerts and outboxes for the tests of delivery."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import Alert, EvidenceRef, Finding, Notification, NotificationState, Severity
from detector.errors import DeliveryError
from detector.notify.briefing import Briefing
from detector.notify.message import render
from detector.notify.retry import RetryPolicy
from detector.store.engine import reading, writing
from detector.store.outbox import list_notifications
from tests.builders import START, Recorder, count, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from detector.notify.message import Message

POLICY = RetryPolicy(first_wait=timedelta(seconds=15), give_up_after=timedelta(hours=72), lease=timedelta(minutes=2))


def alert(**values: Any) -> Alert:
    """An alert about a port scan."""
    defaults: dict[str, Any] = {
        "alert_id": 12,
        "host": "bastion-1",
        "rule_id": "vertical_scan",
        "rule_title": "Vertical port scan",
        "severity": Severity.HIGH,
        "fingerprint": "f" * 32,
        "group": {"user": "root", "remote_address": "127.0.0.1"},
        "opened_at": START,
        "start": START,
        "end": START + timedelta(seconds=20),
        "finding_count": 2,
        "attempted": 300,
        "established": 0,
        "refused": 300,
        "timed_out": 0,
        "failed": 0,
        "destinations": 1,
        "ports": 300,
        "score": 0.9987,
        "summary": "root, via /usr/bin/nc.openbsd, tried 300 ports on 127.0.0.1 in 20 s, 300 refused.",
        "explanations": ("root was never at 127.0.0.1 before", "300 connects; 2 are usual"),
    }
    return Alert(**defaults | values)


def notification(**values: Any) -> Notification:
    """One of such an alert, to be sent by mail."""
    times = {"created_at": START, "next_attempt_at": START, "delivered_at": None}
    sent = {"channel": "mail", "reason": "opened", "state": NotificationState.PENDING, "attempts": 0}
    unknown = {"last_error": None}
    return Notification(**{"notification_id": 1, "alert_id": 12, **times, **sent, **unknown, **values})


def rendered(told: Alert, reason: str) -> Message:
    """The message of an alert, with the templates that ship, and nothing but what stands in it."""
    return render(Briefing(alert=told), reason)


@dataclass
class Clock:
    """The wall clock, moved by hand."""

    now: datetime = START + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **amount: float) -> None:
        """`seconds=15`"""
        self.now += timedelta(**amount)


@dataclass
class Receiver:
    """A channel that keeps what it is sent, and fails as long as it is told to."""

    error: str | None = None
    titles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    attempts: int = 0

    takes_pictures = False
    shows_html = False

    def send(self, message: Message) -> None:
        """Takes a message."""
        self.attempts += 1
        if self.error is not None:
            raise DeliveryError(self.error)
        self.titles.append(message.title)
        self.texts.append(message.text)


def enqueue(
    engine: Engine,
    *,
    channels: Sequence[str] = ("mail",),
    titles: Sequence[str] = ("Scan",),
    fingerprint: str | None = None,
    after: timedelta = timedelta(0),
) -> None:
    """Opens an alert for each of `titles`, to be sent to each of `channels`, as detection does.

    A second call with the same `fingerprint` adds to the alert of the first. `after` is how much time passes before it.
    """
    recorder = Recorder(engine)
    with reading(engine) as connection:
        # Each call goes on where the last one ended.
        recorder.pass_time(seconds=20 * len(list_notifications(connection, limit=10_000)) + after.total_seconds())
    ref = recorder.snapshot(count())
    (row,) = stored(engine, ref)
    found = [
        Finding(
            rule_id="scan",
            rule_title=title,
            severity=Severity.HIGH,
            # Alerts are opened in the order of their fingerprints.
            fingerprint=fingerprint or f"{ref.seq:016}{number:016}",
            group={},
            start=ref.start,
            end=ref.end,
            evidence=(EvidenceRef(seq=ref.seq, key_id=row.key_id, session=0),),
        )
        for number, title in enumerate(titles)
    ]
    book = AlertBook([ChannelPolicy(name=name, min_severity=Severity.LOW) for name in channels], timedelta(minutes=1))
    with writing(engine) as connection:
        book.record(connection, ref, found)


def entries(engine: Engine) -> list[Notification]:
    """All notifications, the oldest first."""
    with reading(engine) as connection:
        return list_notifications(connection, limit=10_000)[::-1]
