"""A day of two hosts with something of everything that a digest tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from detector import shipped
from detector.domain import CaptureHealth, Losses, SnapshotRef, Verdict
from detector.models.week import Week
from detector.store import feedback, rollups, silence
from detector.store.cursors import create_cursors
from detector.store.engine import writing
from detector.store.tables import connection_keys, detection_cursors, evidence, model_promises, notifications, snapshots
from tests.builders import Recorder, count, insert_alert

if TYPE_CHECKING:
    from sqlalchemy import Engine

START = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
END = START + timedelta(days=1)
HALF_AN_HOUR = timedelta(minutes=30)
SCAN = "faecaa28-1ee8-452a-b277-b03614c252cc"


def fill(engine: Engine) -> None:
    """Three days before the day, the day, and half an hour after it."""
    for host in ("bastion-1", "bastion-2"):
        _capture(engine, host)
    with writing(engine) as connection:
        create_cursors(connection)
        last = select(func.max(snapshots.c.seq)).where(snapshots.c.host_id == detection_cursors.c.host_id)
        connection.execute(update(detection_cursors).values(seq=last.scalar_subquery()))
    with writing(engine) as connection:
        waited = (snapshots.c.host_id == 1, snapshots.c.start == START + timedelta(hours=6))
        connection.execute(update(snapshots).where(*waited).values(waited_seconds=42.0))
    for host_id in (1, 2):
        while rollups.advance(engine, host_id, now=END + timedelta(days=1)).more:
            pass
    _alerts(engine)
    _promises(engine)


def _capture(engine: Engine, host: str) -> None:
    recorder = Recorder(engine, host=host, interval=HALF_AN_HOUR, now=START - timedelta(days=3), unpacked=False)
    while recorder.now < END + HALF_AN_HOUR:
        if host == "bastion-2" and recorder.now == START + timedelta(hours=10):
            # Nothing comes for two hours.
            _silent(engine, recorder.now)
            recorder.pass_time(hours=2)
        recorder.snapshot(*_counts(host, recorder.now), **_health(host, recorder.now))


def _counts(host: str, now: datetime) -> list[Any]:
    found = [count("10.0.4.12", 22)]
    if host != "bastion-1":
        return found
    hour = (now - START) / timedelta(hours=1)
    if hour in {2, 5, 6}:
        # New, and met again.
        found.append(count("10.9.9.9", 443, executable="/usr/bin/curl", remote_name="packages.example.org"))
        found.append(count("10.0.4.12", 8443, attempted=2))
    if hour == 3:
        # New, and met once; and a port scan of which an alert tells.
        found.append(count("10.9.9.8", 443))
        found += [count("10.9.9.7", port) for port in range(1, 11)]
    return found


def _health(host: str, now: datetime) -> dict[str, Any]:
    if host == "bastion-1" and now == START + timedelta(hours=4):
        return {"losses": Losses(attempted=5, refused=2), "health": CaptureHealth(self_test_passed=True)}
    return {}


def _silent(engine: Engine, now: datetime) -> None:
    with writing(engine) as connection:
        last = silence.newest(connection, 2)
        assert last is not None
        silence.note(connection, last.ref, 75.0, now + timedelta(seconds=75))
        stopped = SnapshotRef(host_id=2, host="bastion-2", seq=last.ref.seq - 1, start=now, end=now)
        silence.note(connection, stopped, 75.0, now)
        # That one had ended in order.
        connection.execute(
            update(snapshots).where(snapshots.c.host_id == 2, snapshots.c.seq == stopped.seq).values(stopped=True)
        )


def _alerts(engine: Engine) -> None:
    when = [START - timedelta(hours=1), *(START + timedelta(hours=each) for each in (0, 3, 3.5, 4, 20, 21)), END]
    for number, moment in enumerate(when, start=1):
        insert_alert(
            engine,
            alert_id=number,
            rule_id=SCAN,
            fingerprint=f"{'a' if number != 3 else 'b'}" * 32,
            opened_at=moment,
            start=moment,
            end=moment + timedelta(minutes=10),
            severity="high" if number == 3 else "low",
            state="open" if number == 4 else "resolved",
        )
    insert_alert(
        engine,
        alert_id=9,
        host_id=2,
        rule_id=shipped.ANOMALY_RULE,
        rule_title="Unusual by its score",
        fingerprint="c" * 32,
        severity="medium",
        opened_at=START + timedelta(hours=12),
        start=START + timedelta(hours=12),
        end=START + timedelta(hours=13),
        acknowledged_at=START + timedelta(hours=13),
        acknowledged_by="alice",
    )
    with writing(engine) as connection:
        feedback.record(connection, 5, Verdict.BENIGN, author="alice", now=END)
        keys = connection_keys.c
        scanned = select(keys.key_id).where(keys.host_id == 1, keys.remote_address == ip_address("10.9.9.7"))
        for key_id in connection.scalars(scanned).all():
            place = {"seq": 1, "session": 0, "found_seq": 1}
            connection.execute(insert(evidence).values(alert_id=3, key_id=key_id, **place))
    with writing(engine) as connection:
        sent = {"attempts": 1, "created_at": START, "next_attempt_at": START, "reason": "opened"}
        rows = [
            {"alert_id": 2, "channel": "mail", "state": "delivered", "delivered_at": START + timedelta(hours=1)},
            {"alert_id": 3, "channel": "mail", "state": "delivered", "delivered_at": END + timedelta(hours=1)},
            {"alert_id": 3, "channel": "slack", "state": "dead", "failed_at": START + timedelta(hours=9)},
            {"alert_id": 4, "channel": "slack", "state": "pending"},
        ]
        for row in rows:
            connection.execute(insert(notifications).values(**sent, **row))


def _promises(engine: Engine) -> None:
    with writing(engine) as connection:
        for host_id in (1, 2):
            connection.execute(
                insert(model_promises).values(
                    host_id=host_id,
                    **dict.fromkeys(("maximum", "observed", "correction", "hours"), 0),
                    **dict.fromkeys(("prior_threshold", "prior_scale", "tail_threshold", "tail_scale"), 0.5),
                    false_alerts_per_day=0.143,
                    week=Week().pack(),
                    scored_since=START - timedelta(days=2),
                )
            )
