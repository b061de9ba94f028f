"""What somebody changes behind detection's back becomes an alert, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select, update

from detector import pipeline, shipped
from detector.config import Settings
from detector.domain import CaptureHealth, Snapshot
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.service.silence import SilenceWatch
from detector.service.tampering import TamperingWatch
from detector.service.verifying import Verifying
from detector.store.engine import reading, writing
from detector.store.silence import LONG_SECONDS
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import alerts, detection_cursors, packed_counts, snapshots
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

_WRONG = "What is stored of bastion-1 is not what was written"
_NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def stages() -> pipeline.Stages:
    """As configured, with the rules about tampering and silence that ship."""
    names = ("snapshots_tampered", "collector_stopped", "host_silent")
    rules = [shipped.folder("rules") / f"{name}.yml" for name in names]
    return build_stages(Settings(), load_rules(rules).ruleset)


def _detect_all(engine: Engine, stages: pipeline.Stages) -> None:
    for host_id in pipeline.hosts_behind(engine):
        while pipeline.detect_next(engine, host_id, stages):
            pass


def _alerts(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as connection:
        return [(row.rule_title, row.summary) for row in connection.execute(select(alerts).order_by(alerts.c.alert_id))]


def _verify(engine: Engine, verifying: Verifying, stages: pipeline.Stages, now: datetime = _NOW) -> None:
    for _ in verifying.some(now):
        pass
    TamperingWatch().tell(engine, stages)


def test_what_was_changed_before_detection_came_is_told(sqlite_engine: Engine, stages: pipeline.Stages) -> None:
    """With that very snapshot."""
    recorder = Recorder(sqlite_engine, unpacked=False)
    for _ in range(3):
        recorder.snapshot(count(), health=CaptureHealth(unseen=("sends of io_uring",)))
    with writing(sqlite_engine) as connection:
        connection.execute(update(snapshots).where(snapshots.c.seq == 2).values(unseen=""))

    _detect_all(sqlite_engine, stages)

    said = "snapshot 2 is not the one that was written; detector verify tells when."
    assert _alerts(sqlite_engine) == [("Stored snapshots were tampered with", f"{_WRONG}: {said}")]


def test_what_is_deleted_after_detection_is_told_once(engine: Engine, stages: pipeline.Stages) -> None:
    """By whichever worker looks after the database; and not again each time that it looks."""
    recorder = Recorder(engine, unpacked=False)
    for _ in range(6):
        recorder.snapshot(count())
    _detect_all(engine, stages)
    with writing(engine) as connection:
        for table in (packed_counts, snapshots):
            connection.execute(delete(table).where(table.c.seq.in_([2, 4])))

    _verify(engine, Verifying(engine), stages)
    _verify(engine, Verifying(engine), stages, _NOW + timedelta(hours=2))

    said = "snapshot 2 is missing, and 1 more place like it; detector verify tells when."
    assert [summary for _, summary in _alerts(engine)] == [f"{_WRONG}: {said}"]


def test_a_past_that_is_gone_does_not_blind_detection(sqlite_engine: Engine, stages: pipeline.Stages) -> None:
    """All snapshots are deleted and the collector begins anew: what comes is detected, and the rest is told."""
    recorder = Recorder(sqlite_engine, unpacked=False)
    for _ in range(6):
        recorder.snapshot(count())
    _detect_all(sqlite_engine, stages)
    with writing(sqlite_engine) as connection:
        for table in (packed_counts, snapshots):
            connection.execute(delete(table))
    begun_anew = Recorder(sqlite_engine, unpacked=False, now=recorder.now)
    begun_anew.snapshot(count())

    _verify(sqlite_engine, Verifying(sqlite_engine), stages)
    begun_anew.snapshot(count())
    _detect_all(sqlite_engine, stages)

    assert [title for title, _ in _alerts(sqlite_engine)] == ["Stored snapshots were tampered with"]
    with reading(sqlite_engine) as connection:
        assert connection.scalar(select(detection_cursors.c.seq)) == 2


def test_verifying_goes_through_all_that_is_stored(sqlite_engine: Engine, stages: pipeline.Stages) -> None:
    """A page at a time, and then from the beginning again: a change of what is long past is found."""
    recorder = Recorder(sqlite_engine, unpacked=False)
    for _ in range(3):
        recorder.snapshot(count())
    _detect_all(sqlite_engine, stages)
    verifying = Verifying(sqlite_engine)
    for _ in range(2):
        _verify(sqlite_engine, verifying, stages)
    assert _alerts(sqlite_engine) == []
    with writing(sqlite_engine) as connection:
        connection.execute(update(snapshots).where(snapshots.c.seq == 1).values(waited_seconds=9.0))

    for _ in range(2):
        _verify(sqlite_engine, verifying, stages)

    assert len(_alerts(sqlite_engine)) == 1


def test_a_collector_that_stays_away_after_its_stop_is_told(sqlite_engine: Engine, stages: pipeline.Stages) -> None:
    """Not at once, which a restart would be too, but after a quarter of an hour; and once."""
    writer, end = SnapshotWriter("bastion-1"), datetime.now(UTC) - timedelta(minutes=20)
    last = Snapshot(
        host="bastion-1", start=end - timedelta(seconds=10), end=end, counts=(), health=CaptureHealth(stopped=True)
    )
    with writing(sqlite_engine) as connection:
        writer.write(connection, last, mark=bytes(16))
    _detect_all(sqlite_engine, stages)
    now = 0.0
    watch = SilenceWatch(clock=lambda: now)
    told: list[int] = []

    for moment in (0.0, 60.0, LONG_SECONDS - 1, LONG_SECONDS + 1, LONG_SECONDS + 60):
        now = moment
        for host_id, seconds in watch.silent(sqlite_engine):
            pipeline.notice_silence(sqlite_engine, host_id, seconds, stages, now=_NOW)
        told.append(len(_alerts(sqlite_engine)))

    assert told == [0, 0, 0, 1, 1]
    assert [title for title, _ in _alerts(sqlite_engine)] == ["Collector was stopped and has not come back"]
