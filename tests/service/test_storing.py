"""Snapshots on their way to a real database that goes away or is locked: none is lost, none is stored twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from detector.cli import roles
from detector.collector.backlog import Backlog
from detector.collector.spool import Spool
from detector.domain import Losses, Snapshot
from detector.errors import StoreError
from detector.service import storing as storing_role
from detector.service.storing import Storing
from detector.store.engine import reading, writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import snapshots
from tests.builders import START, count, every_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from detector.domain import SnapshotRef

_PLENTY = 10_000_000
_DRIVER = Path(__file__).with_name("taking_snapshots.py")


class Said:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.stored: list[SnapshotRef] = []

    def snapshot(self, ref: SnapshotRef, snapshot: Snapshot) -> None:  # noqa: ARG002  the protocol
        """Remembers which it was."""
        self.stored.append(ref)

    def fault(self, message: str) -> None:
        """Remembers the message."""
        self.faults.append(message)


def _snapshot(number: int, at: datetime = START, rows: int = 3) -> Snapshot:
    start = at + timedelta(seconds=10 * number)
    counts = tuple(count(port=1000 + row, attempted=number + 1, refused=1) for row in range(rows))
    return Snapshot(host="bastion-1", start=start, end=start + timedelta(seconds=10), counts=counts)


@contextmanager
def _storing(url: str, folder: Path, said: Said, *, room: int = _PLENTY, interval: float = 0.4) -> Iterator[Storing]:
    with closing(Spool(folder, room)) as spool:
        storing = Storing(url, "bastion-1", spool, said, interval_seconds=interval)
        storing.start()
        yield storing


def _until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # waits for another thread or process, which has no other way to tell


def _books(engine: Engine) -> tuple[int, int, int, int]:
    """Snapshots stored, snapshots said to be given up, attempts stored, attempts said to be lost."""
    with reading(engine) as connection:
        number, given_up, lost = connection.execute(
            select(func.count(), func.sum(snapshots.c.lost_snapshots), func.sum(snapshots.c.lost_attempted))
        ).one()
    attempts = sum(row["attempted"] for row in every_row(engine))
    return number, int(given_up or 0), attempts, int(lost or 0)


def _starts(engine: Engine) -> list[datetime]:
    with reading(engine) as connection:
        return list(connection.scalars(select(snapshots.c.start).order_by(snapshots.c.seq)))


def _url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_a_database_that_is_well_needs_no_spool(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snapshot is stored before the next comes, and nothing is written to the state folder."""
    # However busy the machine is.
    monkeypatch.setattr(storing_role, "_SOON_SECONDS", 60.0)
    said = Said()
    with _storing(_url(engine), tmp_path / "spool", said, interval=120) as storing:
        for number in range(5):
            storing.put(_snapshot(number))
            assert len(said.stored) == number + 1
        storing.finish()
    assert said.faults == []
    assert list((tmp_path / "spool").iterdir()) == []
    assert _books(engine) == (5, 0, 45, 0)


def test_a_locked_database_delays_nobody_and_loses_nothing(
    sqlite_url: str, sqlite_engine: Engine, tmp_path: Path
) -> None:
    """While another program holds the lock, `put` does not wait for it; all is stored afterwards, in order, and the
    snapshots say how long they waited.
    """
    said = Said()
    now = datetime.now(UTC) - timedelta(seconds=100)
    with (
        _storing(sqlite_url, tmp_path / "spool", said) as storing,
        closing(sqlite3.connect(tmp_path / "detector.db", isolation_level=None)) as holder,
    ):
        storing.put(_snapshot(0, now))
        holder.execute("BEGIN IMMEDIATE")
        for number in range(1, 8):
            asked = time.monotonic()
            storing.put(_snapshot(number, now))
            assert time.monotonic() - asked < 3
        assert len(list((tmp_path / "spool").iterdir())) == 7
        assert len(said.stored) == 1
        holder.execute("ROLLBACK")
        _until(lambda: len(said.stored) == 8)
        storing.finish()
    assert list((tmp_path / "spool").iterdir()) == []
    assert _starts(sqlite_engine) == [_snapshot(number, now).start for number in range(8)]
    with reading(sqlite_engine) as connection:
        waited = list(connection.scalars(select(snapshots.c.waited_seconds).order_by(snapshots.c.seq)))
    assert all(each > 1 for each in waited)


def test_what_waits_at_the_end_is_stored_by_the_next_collector(
    sqlite_url: str, sqlite_engine: Engine, tmp_path: Path
) -> None:
    """It ends without error, says how many wait, and the next one begins with them."""
    said = Said()
    with closing(sqlite3.connect(tmp_path / "detector.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with _storing(sqlite_url, tmp_path / "spool", said) as storing:
            for number in range(3):
                storing.put(_snapshot(number))
            storing.finish()
        holder.execute("ROLLBACK")
    assert said.faults[-1] == "3 snapshots wait in the spool for the next collector"
    again = Said()
    with _storing(sqlite_url, tmp_path / "spool", again) as storing:
        storing.put(_snapshot(3))
        storing.finish()
    assert again.faults[0] == "3 snapshots of an earlier collector wait in the spool: stored first"
    assert _starts(sqlite_engine) == [_snapshot(number).start for number in range(4)]


def test_without_a_spool_an_end_with_the_database_away_is_an_error(sqlite_url: str, tmp_path: Path) -> None:
    """What waits in memory alone is lost, and that is said."""
    with (
        closing(sqlite3.connect(tmp_path / "detector.db", isolation_level=None)) as holder,
        _storing(sqlite_url, tmp_path / "spool", Said(), room=0) as storing,
    ):
        holder.execute("BEGIN IMMEDIATE")
        storing.put(_snapshot(0))
        with pytest.raises(StoreError, match="1 snapshot could not be stored before the end and is lost"):
            storing.finish()


def test_a_snapshot_that_is_stored_already_is_not_stored_again(engine: Engine, tmp_path: Path) -> None:
    """Death came between the commit and the removal of the file: the next collector knows it by its mark."""
    folder = tmp_path / "spool"
    with closing(Spool(folder, _PLENTY)) as spool:
        backlog = Backlog(spool)
        for number in range(3):
            backlog.add(_snapshot(number))
            backlog.keep()
        writer = SnapshotWriter("bastion-1")
        for mark in list(backlog._line)[:2]:
            with writing(engine) as connection:
                writer.write(connection, spool.read(mark), mark=mark)
    said = Said()
    with _storing(_url(engine), folder, said) as storing:
        storing.put(_snapshot(3))
        storing.finish()
    assert _starts(engine) == [_snapshot(number).start for number in range(4)]
    assert list(folder.iterdir()) == []


def test_a_clock_that_is_set_back_changes_neither_order_nor_number(
    sqlite_url: str, sqlite_engine: Engine, tmp_path: Path
) -> None:
    """Snapshots of the same hour twice, some of them with the very same times: each is stored, once, as it came."""
    given = [_snapshot(number) for number in (400, 401, 402, 41, 42, 43, 400, 401)]
    said = Said()
    with closing(sqlite3.connect(tmp_path / "detector.db", isolation_level=None)) as holder:
        with _storing(sqlite_url, tmp_path / "spool", said) as storing:
            storing.put(given[0])
            holder.execute("BEGIN IMMEDIATE")
            for each in given[1:5]:
                storing.put(each)
            storing.finish()
        holder.execute("ROLLBACK")
    with _storing(sqlite_url, tmp_path / "spool", said) as storing:
        for each in given[5:]:
            storing.put(each)
        # What is not stored in a last second waits for the next collector.
        _until(lambda: len(said.stored) == len(given))
        storing.finish()
    assert _starts(sqlite_engine) == [each.start for each in given]


def test_a_bounded_spool_balances(sqlite_url: str, sqlite_engine: Engine, tmp_path: Path) -> None:
    """What the bound forces out is counted, by snapshots and by connects, and said."""
    said = Said()
    with (
        closing(sqlite3.connect(tmp_path / "detector.db", isolation_level=None)) as holder,
        _storing(sqlite_url, tmp_path / "spool", said, room=5 * 4096, interval=0.05) as storing,
    ):
        holder.execute("BEGIN IMMEDIATE")
        for number in range(12):
            storing.put(_snapshot(number))
        holder.execute("ROLLBACK")
        _until(lambda: len(said.stored) == 5)
        storing.finish()
    assert any("no room for 1 snapshot to wait: given up, and counted as lost" in each for each in said.faults)
    number, given_up, attempts, lost = _books(sqlite_engine)
    assert number + given_up == 12
    assert given_up == 7
    assert attempts + lost == sum(3 * (number + 1) for number in range(12))


def test_a_missing_schema_is_refused_at_the_start(tmp_path: Path) -> None:
    """Nothing to wait for: an operator has to do something first."""
    with (
        pytest.raises(StoreError, match="there is no database at"),
        _storing(f"sqlite:///{tmp_path}/none.db", tmp_path / "spool", Said()),
    ):
        pass


def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """The machine starts before its database does: what is counted meanwhile waits."""
    said = Said()
    with _storing("postgresql://nobody@127.0.0.1:1/none", tmp_path / "spool", said) as storing:
        for number in range(3):
            storing.put(_snapshot(number))
        storing.finish()
    assert "127.0.0.1" in said.faults[0]
    assert said.faults[-1] == "3 snapshots wait in the spool for the next collector"


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_killed_again_and_again_each_snapshot_is_stored_once(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """kill -9 at any moment of taking, spooling and storing: what was taken and kept is stored, once each, in order."""
    engine: Engine = request.getfixturevalue(f"{backend}_engine")
    taken = tmp_path / "taken"
    command = [sys.executable, str(_DRIVER), _url(engine), str(tmp_path / "spool"), str(taken)]
    for turn in range(8):
        with subprocess.Popen(command) as driver:
            _until(lambda: taken.exists() and taken.stat().st_size > 0)
            time.sleep(0.4 + 0.13 * turn)  # into the middle of whatever it does
            driver.send_signal(signal.SIGKILL)
    with _storing(_url(engine), tmp_path / "spool", Said()) as storing:
        storing.put(replace(_snapshot(0), losses=Losses(missed=1)))
        _until(lambda: not list((tmp_path / "spool").iterdir()))
        storing.finish()
    kept = [int(line) for line in taken.read_text().split()]
    with reading(engine) as connection:
        theirs = set(connection.scalars(select(snapshots.c.seq).where(snapshots.c.lost_missed == 0)))
    stored = [row["attempted"] for row in every_row(engine) if row["seq"] in theirs]
    assert len(kept) > 20
    assert len(stored) == len(set(stored)), "stored twice"
    assert stored == sorted(stored), "out of order"
    # What was being written as death came may be there or not: nobody was told that it is kept.
    assert set(kept) <= set(stored)


@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_file_is_lost_only_if_it_was_not_stored(
    sqlite_url: str, sqlite_engine: Engine, tmp_path: Path, known: bool
) -> None:
    """Death came while it was spooled, and while it was stored: the database knows which came first."""
    folder = tmp_path / "spool"
    with closing(Spool(folder, _PLENTY)) as spool:
        backlog = Backlog(spool)
        backlog.add(_snapshot(0))
        backlog.keep()
        (path,) = folder.iterdir()
        if known:
            waiting = backlog.oldest()
            assert waiting is not None
            with writing(sqlite_engine) as connection:
                SnapshotWriter("bastion-1").write(connection, _snapshot(0), mark=waiting.mark)
    path.write_bytes(path.read_bytes()[:20])
    said = Said()
    with _storing(sqlite_url, folder, said) as storing:
        storing.put(_snapshot(1))
        storing.finish()
    assert _books(sqlite_engine)[:2] == ((2, 0) if known else (1, 1))
    assert any("counted as lost: it was cut short" in each for each in said.faults) is not known
    # There was room for it.
    assert not any("no room" in each for each in said.faults)


def test_waiting_takes_no_memory(tmp_path: Path) -> None:
    """Thirty snapshots of 10,000 keys wait in no more memory than three: they are on disk."""
    environment = {**os.environ, **roles.ENVIRONMENT}
    driver = Path(__file__).with_name("waiting_in_memory.py")
    done = subprocess.run(
        [sys.executable, driver, tmp_path / "spool"], env=environment, capture_output=True, check=True, text=True
    )
    three, thirty = map(int, done.stdout.split())
    assert thirty < three + 5_000
    assert len(list((tmp_path / "spool").iterdir())) == 30
