"""Real databases that fail while snapshots are written: books balance to the last connect."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text

from detector import shipped
from detector.collector.clock import Clock, Reading
from detector.collector.spool import Spool
from detector.config import Models
from detector.domain import CaptureHealth, Losses, Snapshot
from detector.errors import StoreError
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.service.storing import Storing
from detector.store.engine import open_store, reading
from detector.store.migrating import upgrade
from detector.store.tables import connection_counts, detection_cursors, hosts, packed_observations, snapshots
from tests.builders import Recorder, count, every_row
from tests.disks import fill, small_disk
from tests.system.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef

_DRIVER = Path(__file__).parents[1] / "service" / "taking_snapshots.py"
_PLENTY = 50_000_000
_ROWS = 20
_SCAN = "Port scan of one destination"
# Busy machines and disks take their time; a database that is waited for takes ten seconds and more.
_SLOW_SECONDS = 3


class Said:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.stored = 0

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:  # noqa: ARG002  the protocol
        """Counts it."""
        self.stored += 1

    def fault(self, message: str) -> None:
        """Remembers the message."""
        self.faults.append(message)


class Books:
    """Takes snapshots of known counts, has them stored, and compares."""

    def __init__(self, url: str, folder: Path, room: int = _PLENTY) -> None:
        self.taken = self.attempts = 0
        self.slowest = 0.0
        self.said = Said()
        self.spool = Spool(folder, room)
        self.engine = open_store(url)
        self._storing = Storing(url, "bastion-1", self.spool, self.said, interval_seconds=0.4)
        self._storing.start()

    def take(self, number: int = 1) -> None:
        """One snapshot every 50 ms, as fast as `put` allows."""
        for _ in range(number):
            self.taken += 1
            self.attempts += _ROWS * self.taken
            end = datetime.now(UTC)
            rows = tuple(count(port=1000 + row, attempted=self.taken, refused=1) for row in range(_ROWS))
            asked = time.monotonic()
            self._storing.put(Snapshot(host="bastion-1", start=end - timedelta(seconds=1), end=end, counts=rows))
            self.slowest = max(self.slowest, time.monotonic() - asked)
            time.sleep(0.05)

    def close(self) -> None:
        """Ends storing, when all is stored."""
        _until(lambda: self.spool.bytes == 0, 20)
        self._storing.finish()
        self.spool.close()

    def balance(self) -> tuple[int, int]:
        """Fails unless snapshots and connects taken are those stored and those said to be lost.

        Returns how many snapshots were stored, and how many given up.
        """
        with reading(self.engine) as connection:
            stored, given_up, lost = connection.execute(
                select(func.count(), func.sum(snapshots.c.lost_snapshots), func.sum(snapshots.c.lost_attempted))
            ).one()
            marks = connection.scalar(select(func.count(snapshots.c.mark.distinct())))
        rows = every_row(self.engine)
        attempts, refused = (sum(row[name] for row in rows) for name in ("attempted", "refused"))
        self.engine.dispose()
        assert marks == stored
        assert stored + given_up == self.taken
        assert attempts + lost == self.attempts
        assert refused == stored * _ROWS
        return stored, int(given_up)


def _until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # waits for another thread or process, which has no other way to tell


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A running server with a current database."""
    started = Postgres()
    try:
        started.start()
        engine = open_store(started.url)
        upgrade(engine)
        engine.dispose()
        yield started
    finally:
        started.remove()


@pytest.mark.postgres
def test_postgres_killed_again_and_again_loses_nothing(server: Postgres, tmp_path: Path) -> None:
    """kill -9 of the whole server three times while snapshots are written: each is stored, once, and nobody waited."""
    books = Books(server.url, tmp_path / "spool")
    for _ in range(3):
        taking = threading.Thread(target=books.take, args=[12])
        taking.start()
        time.sleep(0.2)  # into the middle of it
        server.signal(signal.SIGKILL)
        taking.join()
        server.start()
        books.take(4)
    books.close()
    assert books.balance() == (48, 0)
    assert books.slowest < _SLOW_SECONDS
    assert any("the database is back after" in each for each in books.said.faults)


@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_crashes_of_postgres_lose_nothing(server: Postgres, tmp_path: Path, thorough: bool) -> None:
    """kill -9 of the whole server every few seconds (thoroughly: for a minute), while snapshots come and are detected:
    each is stored, and detected, once.
    """
    books = Books(server.url, tmp_path / "spool")
    config = tmp_path / "detector.toml"
    config.write_text(
        f'state_folder = "{tmp_path}"\n[database]\nurl = "{server.url}"\n[models]\nburn_in_hours = 0\n'
        "[notify]\nconsole = false\n"
    )
    config.chmod(0o600)
    books.take()
    over = threading.Event()

    def take() -> None:
        while not over.wait(0.2):  # detection is to have a chance
            books.take()

    taking = threading.Thread(target=take)
    detect = subprocess.Popen([sys.executable, "-m", "detector", "--config", str(config), "detect"])
    try:
        # Nobody starts it again, were it to begin while there is no database.
        _until(lambda: _detected(books.engine), 60)
        taking.start()
        crashes, until = 0, time.monotonic() + (55 if thorough else 15)
        while time.monotonic() < until:
            time.sleep(2.5)  # of work between two crashes
            server.signal(signal.SIGKILL)
            server.start()
            crashes += 1
        over.set()
        taking.join()
        _until(lambda: books.spool.bytes == 0, 30)
        _until(lambda: _detected(books.engine) == books.taken, 150)
    finally:
        over.set()
        detect.kill()
        detect.wait()
    books.close()
    assert crashes > (5 if thorough else 1)
    assert books.balance() == (books.taken, 0)


def _detected(engine: Engine) -> int:
    with reading(engine) as connection:
        seq = connection.scalar(select(detection_cursors.c.seq)) or 0
        assert connection.scalar(select(func.count()).select_from(packed_observations)) == seq
    return int(seq)


@pytest.mark.postgres
def test_rules_see_what_came_before_a_crash(server: Postgres) -> None:
    """The rows that rules look at are not logged, and gone after a crash: they are made again of what is packed."""
    engine = open_store(server.url)
    recorder = Recorder(engine, unpacked=False)
    rules = load_rules([shipped.folder("rules")]).ruleset
    titles: list[str] = []

    class Book:
        def record(
            self, _connection: object, _snapshot: object, findings: Sequence[Finding], _learning: object
        ) -> None:
            titles.extend(finding.rule_title for finding in findings)

        def settle(self, _connection: object, _snapshot: object, *, now: object, quiet: bool) -> None:
            """Nothing is decided by time."""

    stages = Stages(scorer=HostScorer(Models(burn_in_hours=0)), ruleset=rules, alert_book=Book())
    for first in (1, 31):
        recorder.snapshot(*(count(port=port, attempted=1, refused=1) for port in range(first, first + 15)))
        (host_id,) = hosts_behind(engine)
        assert detect_next(engine, host_id, stages) is not None
        if first == 1:
            assert _SCAN not in titles
            # A checkpoint, so that the rows would be there if they were kept.
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("CHECKPOINT"))
            server.signal(signal.SIGKILL)
            engine.dispose()
            server.start()
            with reading(engine) as connection:
                assert connection.scalar(select(func.count()).select_from(connection_counts)) == 0
            # Another process, which remembers nothing.
            stages = replace(stages, ruleset=load_rules([shipped.folder("rules")]).ruleset)
    engine.dispose()
    assert _SCAN in titles


@pytest.mark.postgres
def test_postgres_that_hangs_delays_nobody(server: Postgres, tmp_path: Path) -> None:
    """All its processes are stopped, so that it neither answers nor refuses: what is taken meanwhile waits on disk."""
    books = Books(server.url, tmp_path / "spool")
    books.take(3)
    server.signal(signal.SIGSTOP)
    books.take(40)
    assert books.said.stored <= 4
    assert books.slowest < _SLOW_SECONDS
    server.signal(signal.SIGCONT)
    books.take(1)
    books.close()
    assert books.balance() == (44, 0)


def _made(folder: Path) -> str:
    """The address of an empty database in the folder."""
    url = f"sqlite:///{folder / 'detector.db'}"
    engine = open_store(url)
    upgrade(engine)
    engine.dispose()
    return url


def test_a_full_disk_under_database_and_spool_is_counted(tmp_path: Path) -> None:
    """Neither takes anything: the newest snapshot waits in memory, the others are given up, and the next one that is
    stored says exactly how many they were and what they had counted.
    """
    with small_disk(tmp_path / "disk", "2m") as disk:
        url = _made(disk)
        books = Books(url, disk / "spool")
        books.take(5)
        filler = fill(disk)
        books.take(60)
        filler.unlink()
        _until(lambda: any("is back" in each for each in books.said.faults), 10)
        books.take(3)
        books.close()
        stored, given_up = books.balance()
    assert given_up > 10
    assert stored > 5
    assert any("full" in each for each in books.said.faults)
    assert any("No space left on device" in each for each in books.said.faults)


def test_a_full_disk_under_the_database_alone_loses_nothing(tmp_path: Path) -> None:
    """The spool is elsewhere: all of it is stored when there is room again."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        url = _made(disk)
        books = Books(url, tmp_path / "spool")
        books.take(3)
        filler = fill(disk)
        books.take(40)
        filler.unlink()
        books.take(3)
        books.close()
        assert books.balance() == (46, 0)


def test_two_collectors_share_a_database(engine: Engine, tmp_path: Path) -> None:
    """Two processes write to one database as fast as they can: each finds all of its own there."""
    url = engine.url.render_as_string(hide_password=False)
    running = [
        subprocess.Popen([sys.executable, str(_DRIVER), url, *map(str, _places(tmp_path, name)), name])
        for name in ("bastion-1", "bastion-2")
    ]
    logs = [_places(tmp_path, name)[1] for name in ("bastion-1", "bastion-2")]
    _until(lambda: all(log.exists() and len(log.read_text().split()) > 40 for log in logs), 60)
    for process in running:
        process.kill()
        process.wait()
    for name in ("bastion-1", "bastion-2"):
        spool, taken = _places(tmp_path, name)
        with closing(Spool(spool, _PLENTY)) as left:
            storing = Storing(url, name, left, Said(), interval_seconds=1)
            storing.start()
            _until(partial(_is_empty, left), 10)
            storing.finish()
        with reading(engine) as connection:
            host_id = connection.scalar(select(hosts.c.host_id).where(hosts.c.host == name))
        stored = [row["attempted"] for row in every_row(engine) if row["host_id"] == host_id]
        kept = [int(line) for line in taken.read_text().split()]
        assert len(kept) > 20
        # The last one may be there although nobody was told.
        assert stored[: len(kept)] == kept
        assert len(stored) <= len(kept) + 1


def _is_empty(spool: Spool) -> bool:
    return spool.bytes == 0


def _places(folder: Path, name: str) -> tuple[Path, Path]:
    (folder / name).mkdir(exist_ok=True)
    return folder / name / "spool", folder / name / "taken"


def test_a_clock_that_is_set_back_an_hour_loses_nothing(engine: Engine, tmp_path: Path) -> None:
    """The collector's own clock, shown a wall clock that is set back in between: all is stored in the order in which it
    was taken, says by how much, and nothing waited.
    """
    moments = [
        Reading(datetime.now(UTC) - timedelta(hours=back) + timedelta(seconds=passed), float(passed), float(passed))
        for passed, back in enumerate((0, 0, 0, 1, 1, 1))
    ]
    clock = Clock(iter(moments).__next__)
    said = Said()
    url = engine.url.render_as_string(hide_password=False)
    with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
        storing = Storing(url, "bastion-1", spool, said, interval_seconds=1)
        storing.start()
        for number in range(1, 6):
            span = clock.span()
            health = CaptureHealth(clock_step_seconds=span.stepped_seconds)
            row = count(attempted=number)
            storing.put(
                Snapshot(
                    host="bastion-1", start=span.start, end=span.end, counts=(row,), losses=Losses(), health=health
                )
            )
        storing.finish()
    with reading(engine) as connection:
        steps = connection.scalars(select(snapshots.c.clock_step_seconds).order_by(snapshots.c.seq)).all()
    attempted = [row["attempted"] for row in every_row(engine)]
    assert attempted == [1, 2, 3, 4, 5]
    assert [round(each) for each in steps] == [0, 0, -3600, 0, 0]


def test_an_end_while_postgres_hangs_comes_soon(tmp_path: Path) -> None:
    """A server that accepts and says nothing: the collector starts, counts, and ends within two seconds."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"postgresql://tests@127.0.0.1:{mute.getsockname()[1]}/none"
        with closing(Spool(tmp_path / "spool", _PLENTY)) as spool:
            storing = Storing(url, "bastion-1", spool, Said(), interval_seconds=0.4)
            storing.start()
            end = datetime.now(UTC)
            storing.put(Snapshot(host="bastion-1", start=end - timedelta(seconds=1), end=end, counts=()))
            asked = time.monotonic()
            with suppress(StoreError):
                storing.finish()
            assert time.monotonic() - asked < 2
            assert len(list((tmp_path / "spool").iterdir())) == 1
