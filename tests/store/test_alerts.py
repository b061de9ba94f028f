"""Alerts, the rows behind them and their notifications, read back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import EvidenceRef, Finding, NotificationState, Severity
from detector.store.alerts import alert_rows, list_alerts, notifications_of, read_alert
from detector.store.engine import reading, writing
from tests.builders import Recorder, count, observe, stored

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount, SnapshotRef


def alerted(engine: Engine, recorder: Recorder, *counts: ConnectionCount, **values: Any) -> SnapshotRef:
    """A snapshot with one finding over all its rows."""
    ref = recorder.snapshot(*counts)
    rows = list(stored(engine, ref))
    observe(engine, ref, {rows[0].key_id: {"score": 0.97, "explanation": "never seen before"}})
    defaults: dict[str, Any] = {
        "rule_id": "first_contact",
        "rule_title": "First contact",
        "severity": Severity.HIGH,
        "fingerprint": f"{ref.seq:032}",
        "group": {"user": "alice", "remote_port": 22, "unit": None},
        "start": ref.start,
        "end": ref.end,
        "evidence": tuple(EvidenceRef(seq=ref.seq, key_id=row.key_id, session=row.count.session) for row in rows),
    }
    book = AlertBook([ChannelPolicy(name="mail", min_severity=Severity.LOW)], timedelta(hours=1))
    with writing(engine) as connection:
        book.record(connection, ref, [Finding(**defaults | values)])
    return ref


def test_an_alert_comes_back_as_it_was_written(engine: Engine) -> None:
    """All fields of an alert survive the database, on both kinds."""
    ref = alerted(engine, Recorder(engine), count(), count("10.0.4.13"))
    with reading(engine) as connection:
        (alert,) = list_alerts(connection)
        assert read_alert(connection, alert.alert_id) == alert
        assert read_alert(connection, alert.alert_id + 1) is None
    assert alert.host == "bastion-1"
    assert alert.severity is Severity.HIGH
    assert alert.group == {"user": "alice", "remote_port": 22, "unit": None}
    assert (alert.start, alert.end, alert.opened_at) == (ref.start, ref.end, ref.end)
    assert (alert.attempted, alert.established, alert.destinations, alert.ports) == (2, 2, 2, 1)
    assert alert.explanations == ("never seen before",)


def test_alerts_are_listed_from_the_last_active_one(engine: Engine) -> None:
    """The newest come first, cut at a limit; what had ended by a given time is left out."""
    recorder = Recorder(engine)
    refs = [alerted(engine, recorder, count()) for _ in range(3)]
    with reading(engine) as connection:
        assert [alert.end for alert in list_alerts(connection)] == [ref.end for ref in reversed(refs)]
        assert [alert.end for alert in list_alerts(connection, limit=1)] == [refs[2].end]
        assert [alert.end for alert in list_alerts(connection, since=refs[1].end)] == [refs[2].end]


def test_the_rows_behind_an_alert(engine: Engine) -> None:
    """Each row comes with its host, times, key, counts, origin, name and observation, in the order of time."""
    alerted(engine, Recorder(engine, host="another"), count("10.9.9.9"))
    named = count("10.0.4.13", 2222, session=7, login_address="203.0.113.7", remote_name="db.example.org")
    ref = alerted(engine, Recorder(engine), named, count("10.0.4.12"))
    with reading(engine) as connection:
        alert = next(each for each in list_alerts(connection) if each.host == "bastion-1")
        rows = alert_rows(connection, alert.alert_id, 10)
        assert len(alert_rows(connection, alert.alert_id, 1)) == 1
    assert {row["host"] for row in rows} == {"bastion-1"}
    assert [row["key_id"] for row in rows] == [1, 2]
    assert {(row["start"], row["end"], row["seq"]) for row in rows} == {(ref.start, ref.end, ref.seq)}
    assert {(str(row["remote_address"]), row["remote_port"], row["session"], row["attempted"]) for row in rows} == {
        ("10.0.4.12", 22, 0, 1),
        ("10.0.4.13", 2222, 7, 1),
    }
    assert [(str(row["login_address"]), row["remote_name"]) for row in rows] == [
        ("203.0.113.7", "db.example.org"),
        ("None", None),
    ]
    assert [(row["score"], row["explanation"]) for row in rows] == [(0.97, "never seen before"), (None, None)]


def test_the_notifications_of_an_alert(engine: Engine) -> None:
    """What is to be sent is written with the alert, due at once, in data time."""
    ref = alerted(engine, Recorder(engine), count())
    with reading(engine) as connection:
        (alert,) = list_alerts(connection)
        (notification,) = notifications_of(connection, alert.alert_id)
    assert (notification.channel, notification.reason) == ("mail", "opened")
    assert notification.state is NotificationState.PENDING
    assert notification.created_at == ref.end
    assert notification.next_attempt_at < ref.end
    assert (notification.attempts, notification.delivered_at, notification.last_error) == (0, None, None)
