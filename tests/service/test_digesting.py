"""When digests are made: each once, whatever stops and however many work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from detector import shipped
from detector.config import Channel, Database, Notify, Settings
from detector.config_digest import Digest
from detector.digest import from_stored
from detector.ruleset.load import load_rules
from detector.service import digesting as service
from detector.service.detecting import detect
from detector.service.digesting import Digesting, awaited
from detector.store import notices
from detector.store.cursors import advance_cursor, create_cursors
from detector.store.engine import reading, writing
from detector.store.liveness import Liveness
from detector.store.outbox import StoredOutbox
from detector.store.tables import snapshots
from tests.builders import Lines, Recorder, count
from tests.notify.samples import entries
from tests.notify.servers import MailServer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import Notice, SnapshotRef
    from detector.ruleset.load import LoadedRules

MONDAY = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SETTINGS = Settings(digest=Digest(channels=("mail", "chat"), weekly=""))


@dataclass
class Faults:
    """Keeps what is said."""

    said: list[str] = field(default_factory=list)

    def fault(self, message: str) -> None:
        """Keeps it."""
        self.said.append(message)


@cache
def _rules() -> LoadedRules:
    return load_rules([shipped.folder("rules") / "vertical_scan.yml"])


def digesting(engine: Engine, settings: Settings = SETTINGS) -> Digesting:
    """As after a start."""
    return Digesting(engine, settings, _rules, Event(), Faults())


def told(engine: Engine, kind: str = "daily digest") -> list[Notice]:
    """Those that say something, the oldest first."""
    with reading(engine) as connection:
        found = [notices.read(connection, number) for number in range(1, 30)]
    return [each for each in found if each is not None and each.kind == kind and each.content is not None]


def sent(engine: Engine) -> list[str]:
    """The channels that they are sent to, in order."""
    return [each.channel for each in entries(engine)]


def test_the_first_one_comes_at_the_next_moment(engine: Engine) -> None:
    """Whoever switches digests on is not told of a time before; from then on one is sent each day, to each channel."""
    digesting(engine).round(MONDAY - MINUTE)
    assert told(engine) == []
    work = digesting(engine)
    for moment in (MONDAY, MONDAY + MINUTE, MONDAY + 5 * MINUTE):
        work.round(moment)
    (first,) = told(engine)
    assert from_stored(first.content).end == MONDAY
    assert from_stored(first.content).start == MONDAY - DAY
    assert not from_stored(first.content).late
    assert sent(engine) == ["mail", "chat"]
    work.round(MONDAY + DAY)
    assert len(told(engine)) == 2
    assert sent(engine) == ["mail", "chat"] * 2


def test_it_is_made_once_after_any_number_of_starts(sqlite_engine: Engine) -> None:
    """The store decides, not what a process remembers."""
    digesting(sqlite_engine).round(MONDAY - MINUTE)
    for number in range(4):
        digesting(sqlite_engine).round(MONDAY + number * MINUTE)
    assert len(told(sqlite_engine)) == 1


def test_many_workers_make_one(postgres_engine: Engine) -> None:
    """Of workers of a fleet that look at the same moment one makes it."""
    digesting(postgres_engine).round(MONDAY - MINUTE)
    faults: list[BaseException] = []

    def work() -> None:
        mine = digesting(postgres_engine)
        try:
            for number in range(5):
                mine.round(MONDAY + number * MINUTE)
        except BaseException as fault:  # noqa: BLE001 - told below
            faults.append(fault)

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(told(postgres_engine)) == 1
    assert sent(postgres_engine) == ["mail", "chat"]


def test_after_a_stop_the_newest_is_sent_late(sqlite_engine: Engine) -> None:
    """It says that it is late and how many before it are not sent; the next one is in time again."""
    work = digesting(sqlite_engine)
    work.round(MONDAY - MINUTE)
    work.round(MONDAY)
    back = digesting(sqlite_engine)
    back.round(MONDAY + 3 * DAY + timedelta(hours=2))
    back.round(MONDAY + 4 * DAY)
    first, late, next_one = (from_stored(each.content) for each in told(sqlite_engine))
    assert (first.late, first.missed) == (False, 0)
    assert (late.end, late.late, late.missed) == (MONDAY + 3 * DAY, True, 2)
    assert (next_one.end, next_one.late, next_one.missed) == (MONDAY + 4 * DAY, False, 0)


def test_what_was_off_for_long_begins_anew(sqlite_engine: Engine) -> None:
    """Nobody is told of months of missed digests."""
    work = digesting(sqlite_engine)
    work.round(MONDAY - MINUTE)
    work.round(MONDAY)
    again = digesting(sqlite_engine)
    again.round(MONDAY + 100 * DAY + MINUTE)
    assert len(told(sqlite_engine)) == 1
    again.round(MONDAY + 101 * DAY)
    assert from_stored(told(sqlite_engine)[1].content).missed == 0


def test_a_clock_that_was_ahead_for_a_while_ends_no_digests(engine: Engine) -> None:
    """For a minute it is next year; put right, the next digest comes at its time, and has missed none."""
    work = digesting(engine)
    work.round(MONDAY - MINUTE)
    work.round(MONDAY)
    work.round(MONDAY + 365 * DAY + MINUTE)
    digesting(engine).round(MONDAY + 3 * DAY + 365 * DAY)
    for again in (work, digesting(engine)):
        again.round(MONDAY + 2 * MINUTE)
        again.round(MONDAY + DAY)
    assert [from_stored(each.content).end for each in told(engine) if each.created_at < MONDAY + 2 * DAY] == [
        MONDAY,
        MONDAY + DAY,
    ]


def test_weekly_and_daily_go_side_by_side(sqlite_engine: Engine) -> None:
    """On Monday there are two."""
    settings = Settings(digest=Digest(channels=("mail",)))
    work = digesting(sqlite_engine, settings)
    work.round(MONDAY - MINUTE)
    for day in range(8):
        work.round(MONDAY + day * DAY)
    assert len(told(sqlite_engine, "daily digest")) == 8
    weeks = [from_stored(each.content) for each in told(sqlite_engine, "weekly digest")]
    assert [(each.start, each.end) for each in weeks] == [
        (MONDAY - 7 * DAY, MONDAY),
        (MONDAY, MONDAY + 7 * DAY),
    ]


def test_a_quiet_day_need_not_be_told(sqlite_engine: Engine) -> None:
    """It is counted as told, so that nobody takes it for missed."""
    settings = Settings(digest=Digest(channels=("mail",), weekly="", when_quiet=False))
    work = digesting(sqlite_engine, settings)
    work.round(MONDAY - MINUTE)
    work.round(MONDAY)
    assert len(told(sqlite_engine)) == 1
    assert sent(sqlite_engine) == []
    recorder = Recorder(sqlite_engine, now=MONDAY + timedelta(hours=1), unpacked=False)
    _see(recorder)
    recorder.pass_time(hours=1)
    _see(recorder)
    work.round(MONDAY + DAY + timedelta(hours=1))
    assert from_stored(told(sqlite_engine)[1].content).missed == 0
    # Nobody watched for an hour.
    assert sent(sqlite_engine) == ["mail"]


def _capture(recorder: Recorder) -> SnapshotRef:
    """A next snapshot as a collector sends it."""
    ref = recorder.snapshot(count())
    with writing(recorder.engine) as connection:
        connection.execute(update(snapshots).where(snapshots.c.seq == ref.seq).values(mark=ref.seq.to_bytes(16)))
        create_cursors(connection)
    return ref


def _see(recorder: Recorder) -> None:
    """The same, and detection sees it and all before it."""
    ref = _capture(recorder)
    with writing(recorder.engine) as connection:
        advance_cursor(connection, ref)


def test_it_waits_for_what_is_still_to_be_detected(sqlite_engine: Engine) -> None:
    """Until detection has seen the end of the period, for a quarter of an hour at most; then it says who was behind."""
    work = digesting(sqlite_engine)
    work.round(MONDAY - DAY - MINUTE)
    recorder = Recorder(sqlite_engine, now=MONDAY - DAY - MINUTE, unpacked=False)
    _capture(recorder)
    work.round(MONDAY - DAY)
    work.round(MONDAY - DAY + 14 * MINUTE)
    assert told(sqlite_engine) == []
    work.round(MONDAY - DAY + 15 * MINUTE)
    assert from_stored(told(sqlite_engine)[0].content).capture.behind == 1
    recorder.now = MONDAY - timedelta(seconds=20)
    _see(recorder)
    recorder.now = MONDAY
    work.round(MONDAY + timedelta(seconds=5))
    assert len(told(sqlite_engine)) == 1
    _see(recorder)
    work.round(MONDAY + timedelta(seconds=15))
    assert from_stored(told(sqlite_engine)[1].content).capture.behind == 0


@pytest.mark.parametrize(
    ("captured", "detected", "waits"),
    [
        # Detection has seen the end.
        (timedelta(seconds=5), timedelta(seconds=5), False),
        # It is there, and not seen yet.
        (timedelta(seconds=5), timedelta(seconds=-5), True),
        (timedelta(seconds=5), None, True),
        # What is there is seen, and the next one is to come.
        (timedelta(seconds=-5), timedelta(seconds=-5), True),
        # The host has been silent for long.
        (timedelta(minutes=-5), timedelta(minutes=-5), False),
        (timedelta(minutes=-5), timedelta(minutes=-6), True),
    ],
)
def test_who_is_waited_for(captured: timedelta, detected: timedelta | None, waits: bool) -> None:
    """By how far a host has come at the end of the period."""
    host = Liveness(
        host="b",
        captured_until=MONDAY + captured,
        usual_seconds=10,
        detected_until=None if detected is None else MONDAY + detected,
    )
    assert awaited([host], MONDAY, MONDAY + timedelta(seconds=10)) is waits


_PROGRAM = """
import sys, time
from datetime import datetime
from detector.service import digesting
from detector.store.engine import open_store
from tests.service.test_digesting import digesting as at_work
told = digesting.notices.tell
def tell(*arguments, **named):
    number = told(*arguments, **named)
    print("written", flush=True)
    time.sleep(60)
digesting.notices.tell = tell
at_work(open_store(sys.argv[1])).round(datetime.fromisoformat(sys.argv[2]))
"""


def test_a_worker_that_is_killed_neither_loses_nor_doubles_it(sqlite_engine: Engine) -> None:
    """Killed when it has written the digest and before that is committed: the next one makes it, whole, once."""
    digesting(sqlite_engine).round(MONDAY - MINUTE)
    url = str(sqlite_engine.url)
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, url, MONDAY.isoformat()], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert told(sqlite_engine) == []
    digesting(sqlite_engine).round(MONDAY + MINUTE)
    assert len(told(sqlite_engine)) == 1
    assert sent(sqlite_engine) == ["mail", "chat"]
    assert StoredOutbox(sqlite_engine).due_channels(MONDAY + MINUTE) == ["mail", "chat"]


def test_detect_sends_it(sqlite_engine: Engine, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running service makes what is due, and a mail server receives it."""
    monkeypatch.setattr(service, "_LOOK_SECONDS", 0.1)
    now = datetime.now(UTC)
    before = (now - timedelta(days=2)).isoformat()
    with writing(sqlite_engine) as connection:
        notices.begin(connection, kind="daily digest", subject=before, now=now)
    stop = Event()
    with MailServer().running() as server:
        settings = Settings(
            database=Database(url=sqlite_url),
            notify=Notify(console=False),
            channels=(Channel(name="mail", url=server.url),),
            digest=Digest(channels=("mail",), daily=f"{now:%H:%M}", weekly=""),
        )
        thread = Thread(target=detect, args=(settings, stop, Lines()))
        thread.start()
        for _ in range(600):
            if server.received or not thread.is_alive():
                break
            stop.wait(0.1)
        stop.set()
        thread.join(30)
    (mail,) = server.received
    assert mail["Subject"].startswith("Daily digest, ")
    assert mail["Subject"].endswith(": no alerts; nothing captured")
