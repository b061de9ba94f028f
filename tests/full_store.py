"""A store with something in each table that verbs read, made as detection makes it. Names are the caller's."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from detector import shipped
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.config import Models
from detector.domain import CaptureHealth, Losses, NotificationState, ReviewAnswer, Severity, Verdict
from detector.matchers import Matcher, Operator
from detector.models.scorer import HostScorer
from detector.pipeline import RulesRefused, Stages, detect_next, notice_refused, notice_silence
from detector.ruleset.load import load_rules
from detector.service.training import train_host
from detector.store import alert_silences, detectors, feedback, notices, reviews, rollups
from detector.store.columns import storable
from detector.store.cursors import create_cursors
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.tables import alert_events, alerts, evidence, imports, notifications, replacements, tamperings
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

SINCE = f"{START:%Y-%m-%d}"
"""Before all that is in it."""
_INTERVAL = timedelta(minutes=30)
_SNAPSHOTS = 24
_MACHINES = 16


@dataclass(frozen=True)
class Names:
    """What those who are watched, and those who watch, call themselves and others."""

    host: str = "bastion-1"
    program: str = "/tmp/.x"
    user: str = "mallory"
    place: str = "shop.example"
    """Of units, containers, countries, networks and destinations."""
    said: str = "a reason"
    """What people and servers say."""

    @classmethod
    def all(cls, name: str) -> Names:
        """Everything has this name."""
        return cls(name, name, name, name, name)


def fill(engine: Engine, names: Names | None = None, *, start: datetime = START) -> datetime:
    """Half a day of a host on which somebody does what several rules find, and a forest of it; returns its end."""
    called = names or Names()
    rules = load_rules([shipped.folder("rules")]).ruleset
    channels = [ChannelPolicy(name=storable(called.said), min_severity=Severity.INFORMATIONAL)]
    settings = Models(burn_in_hours=2)
    book = AlertBook(channels, timedelta(hours=1))
    stages = Stages(scorer=HostScorer(settings, trains=False), ruleset=rules, alert_book=book)
    recorder = Recorder(engine, host=called.host, interval=_INTERVAL, now=start, unpacked=False)
    for number in range(_SNAPSHOTS):
        _snapshot(recorder, called, number)
        with writing(engine) as connection:
            create_cursors(connection)
        assert detect_next(engine, 1, stages)
    now = recorder.now
    refused = RulesRefused(files=1, fault=f"{called.said}:1: {called.said}")
    assert notice_refused(engine, called.host, refused, stages, now=now)
    assert notice_silence(engine, 1, 600.0, stages, now=now + timedelta(minutes=10))
    assert train_host(engine, 1, settings)
    while rollups.advance(engine, 1, now=now + timedelta(days=3)).more:
        pass
    _answers(engine, called, now)
    _deliveries(engine, called, now)
    return now


def _snapshot(recorder: Recorder, called: Names, number: int) -> None:
    usual = [count(f"10.0.4.{machine}", 22) for machine in range(1, _MACHINES + 1)]
    late = number == _SNAPSHOTS - 1
    recorder.snapshot(
        *usual,
        *(_theirs(called, port) for port in range(1, 40 if late else 2)),
        losses=Losses(attempted=3) if late else None,
        health=CaptureHealth(late_seconds=5.0, unseen=(called.place,)) if late else None,
    )


def _theirs(called: Names, port: int) -> ConnectionCount:
    return count(
        "203.0.113.66",
        port,
        attempted=1,
        refused=1,
        executable=called.program,
        command=called.program,
        script=called.program,
        parent_executable=called.program,
        user=called.user,
        login_user=called.user,
        unit=called.place,
        container=called.place,
        login_address="198.51.100.7",
        login_source="ssh",
        remote_name=called.place,
        remote_name_source="dns",
        remote_country=called.place,
        remote_network=called.place,
    )


def _answers(engine: Engine, called: Names, now: datetime) -> None:
    """What people say of alerts, rows and silences."""
    said, user = storable(called.said), storable(called.user)
    with writing(engine) as connection:
        ids = connection.scalars(select(alerts.c.alert_id).order_by(alerts.c.alert_id)).all()
        first = update(alerts).where(alerts.c.alert_id == ids[0])
        connection.execute(first.values(acknowledged_at=now, acknowledged_by=user))
        # Of an alert that an older version has written, or a rule of somebody's own.
        connection.execute(first.values(rule_title=said, summary=said))
        for alert_id in ids:
            event = {"kind": "note", "author": user, "said": said}
            connection.execute(insert(alert_events).values(alert_id=alert_id, at=now, **event))
        feedback.record(connection, ids[0], Verdict.BENIGN, author=user, reason=said, now=now)
        reviews.answer(connection, 1, 1, ReviewAnswer.ACCEPTED, author=user, now=now)
        alert_silences.add(
            connection,
            [Matcher("user", Operator.IS, user)],
            starts_at=now,
            ends_at=now + timedelta(days=10_000),
            author=user,
            reason=said,
            now=now,
        )
        detectors.note(connection, storable(called.host), now)
        assert connection.scalar(select(evidence.c.alert_id).limit(1))


def _deliveries(engine: Engine, called: Names, now: datetime) -> None:
    """What was sent and could not be, and what else is kept beside."""
    said = storable(called.said)
    with reading(engine) as connection:
        ids = connection.scalars(select(alerts.c.alert_id)).all()
    with writing(engine) as connection:
        sent = {"channel": said, "reason": said, "attempts": 9, "created_at": now, "next_attempt_at": now}
        failed = {"state": NotificationState.DEAD.value, "failed_at": now, "last_error": said, "chart_fault": said}
        rows = [{"alert_id": alert_id, **sent, **failed} for alert_id in ids]
        connection.execute(insert(notifications), rows)
        content = {"title": said, "lines": [said]}
        notices.tell(connection, kind="detector stopped", subject=said, content=content, channels=[said], now=now)
        connection.execute(
            insert(imports).values(
                host_id=1, source=b"\1" * 16, format="zeek", name=said, options=said, started_at=now, snapshots=1,
                rows=1, last_seq=1, stored_from=now, stored_until=now, refused=1,
            )
        )  # fmt: skip
        connection.execute(insert(replacements).values(replaced_at=now, set_aside=said, reason=said))
        connection.execute(insert(tamperings).values(host_id=1, seq=2, noticed_at=now, breaks=1, first_break=said))


@lru_cache(maxsize=1)
def stored_file() -> bytes:
    """The file of such a store, with a snapshot that was not detected yet."""
    with tempfile.TemporaryDirectory(prefix="detector-full-") as folder:
        path = Path(folder, "full.db")
        engine = open_store(f"sqlite:///{path}")
        upgrade(engine)
        Recorder(engine, now=fill(engine), unpacked=False).snapshot(count(), count("10.9.9.9", 443, user="mallory"))
        engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            # All of it in the one file, which can be opened in memory.
            connection.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()
