"""The running service looks after the database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import event, func, select

from detector.config import Database, Notify, Retention, Settings
from detector.errors import StoreError
from detector.service import keeping
from detector.service.detecting import detect
from detector.service.keeping import Keeping, kept_from
from detector.store.engine import reading
from detector.store.tables import hourly_counts, snapshots
from tests.builders import Lines, Recorder, count

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import Connection, Engine


def _number(engine: Engine, table: object) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def test_detect_adds_up_and_deletes_while_it_runs(
    sqlite_engine: Engine, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to call anything: old snapshots are seen, added up and gone soon after `detect` has begun."""
    monkeypatch.setattr(keeping, "_ROUND_SECONDS", 0.1)
    monkeypatch.setattr(keeping, "_BY_AGE", timedelta(0))
    recorder = Recorder(sqlite_engine, now=datetime.now(UTC) - timedelta(days=40), unpacked=False)
    for _ in range(5):
        recorder.snapshot(count())
    # By which the clock is believed.
    recorder.now = datetime.now(UTC) - timedelta(days=1.5)
    recorder.snapshot(count())
    settings = Settings(
        database=Database(url=sqlite_url), notify=Notify(console=False), retention=Retention(snapshot_days=30)
    )
    stop, said = threading.Event(), Lines()
    service = threading.Thread(target=detect, args=(settings, stop, said))

    service.start()
    for _ in range(1200):
        if _number(sqlite_engine, snapshots) == 1 or not service.is_alive():
            break
        stop.wait(0.1)
    stop.set()
    service.join(30)

    assert _number(sqlite_engine, snapshots) == 1
    assert _number(sqlite_engine, hourly_counts) == 2
    assert said.lines == []


def test_a_database_that_is_away_is_said_once(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the database ends neither the thread nor is it said each time."""
    monkeypatch.setattr(keeping, "_ROUND_SECONDS", 0.001)
    monkeypatch.setattr(keeping, "_AWAY_SECONDS", 0.001)
    stop, said, tries = threading.Event(), Lines(), []

    def refuse(_connection: Connection) -> None:
        tries.append(1)
        if len(tries) == 5:
            stop.set()
        raise StoreError("the disk is gone")

    worker = Keeping(sqlite_engine, kept_from(Settings(), sqlite_engine), stop, said)
    event.listen(sqlite_engine, "begin", refuse)
    worker.run()

    assert said.lines == ["the disk is gone; the database is looked after later"]


def test_a_stop_is_heeded_between_steps(sqlite_engine: Engine) -> None:
    """The service ends at once, however much is to be deleted."""
    stop = threading.Event()
    worker = Keeping(sqlite_engine, kept_from(Settings(), sqlite_engine), stop, Lines())
    stop.set()

    worker.round(datetime.now(UTC))
    worker.run()
