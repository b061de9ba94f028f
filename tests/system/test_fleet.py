"""Several `detector detect` on one database share hosts, and notice once that one has fallen silent."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from detector.domain import CaptureHealth, Snapshot
from detector.store.engine import reading, writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import alerts, detection_cursors, findings, hosts, packed_observations, snapshots
from tests.builders import count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

_SILENT = "A host fell silent"
# Busy machines take their time to start what has to be imported.
_START_SECONDS = 90


@contextmanager
def _workers(engine: Engine, folder: Path, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    config = folder / "detector.toml"
    url = engine.url.render_as_string(hide_password=False)
    config.write_text(
        f'state_folder = "{folder}"\n[database]\nurl = "{url}"\n[models]\nburn_in_hours = 0\n'
        '[[channels]]\nname = "nobody"\nurl = "json://127.0.0.1:9/"\nmin_severity = "informational"\n'
    )
    config.chmod(0o600)
    command = [sys.executable, "-m", "detector", "--config", str(config), "detect"]
    # Not measured: what is killed could not say what it ran.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(number)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _until(condition: object, seconds: float) -> float:
    """Waits for a condition; returns how long that took."""
    begin = time.monotonic()
    assert callable(condition)
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)  # waits for another process, which has no other way to tell
    return time.monotonic() - begin


class _Host:
    """Sends a snapshot a second."""

    def __init__(self, engine: Engine, name: str, *, marked: bool = True) -> None:
        self._engine, self.name, self._marked = engine, name, marked
        self._writer = SnapshotWriter(name)
        self._end = datetime.now(UTC)
        self.sent = 0

    def send(self, *, stopped: bool = False) -> None:
        """One snapshot."""
        start, self._end = self._end, self._end + timedelta(seconds=1)
        snapshot = Snapshot(
            host=self.name,
            start=start,
            end=self._end,
            counts=(count(port=1000 + self.sent % 50),),
            health=CaptureHealth(stopped=stopped),
        )
        with writing(self._engine) as connection:
            self._writer.write(connection, snapshot, mark=secrets.token_bytes(16) if self._marked else None)
        self.sent += 1


def _behind(engine: Engine) -> int:
    with reading(engine) as connection:
        newest = select(func.sum(select(func.max(snapshots.c.seq)).group_by(snapshots.c.host_id).subquery().c[0]))
        return int(connection.scalar(newest) or 0) - int(
            connection.scalar(select(func.sum(detection_cursors.c.seq))) or 0
        )


def _silences(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as connection:
        rows = connection.execute(
            select(hosts.c.host, alerts.c.summary)
            .join(hosts, hosts.c.host_id == alerts.c.host_id)
            .where(alerts.c.rule_title == _SILENT)
        )
        return [(row.host, row.summary) for row in rows]


def _found_silent(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(
            connection.scalar(
                select(func.count()).select_from(findings.join(alerts)).where(alerts.c.rule_title == _SILENT)
            )
            or 0
        )


@pytest.mark.parametrize(
    ("database", "number"), [("sqlite", 1), pytest.param("postgres", 2, marks=pytest.mark.postgres)]
)
def test_a_host_that_falls_silent_is_noticed_within_three_intervals(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, number: int
) -> None:
    """It is told once, by however many workers, with how long nothing came; hosts that go on, that were told to stop,
    or that were imported are not missed. After a restart it is not told again.
    """
    engine: Engine = request.getfixturevalue(f"{database}_engine")
    lost, well, ended = (_Host(engine, name) for name in ("lost", "well", "ended"))
    imported = _Host(engine, "imported", marked=False)
    stop, quiet = Event(), Event()

    def send() -> None:
        while not stop.is_set():
            well.send()
            if not quiet.is_set():
                lost.send()
            stop.wait(1)

    for host in (lost, well, imported):
        host.send()
    ended.send(stopped=True)
    sending = Thread(target=send)
    with _workers(engine, tmp_path, number):
        sending.start()
        try:
            _until(lambda: _behind(engine) == 0, _START_SECONDS)
            time.sleep(2)  # as hosts send
            quiet.set()
            gone = time.monotonic()
            _until(lambda: _silences(engine), 10)
            # A third of a second for the machine, and as long for the last snapshot, which came before.
            assert time.monotonic() - gone < 3.7
            time.sleep(3)  # the others would be noticed by now
        finally:
            stop.set()
            sending.join()
    ((silent, summary),) = _silences(engine)
    assert silent == "lost"
    assert summary.startswith("lost has sent nothing for ")
    assert "its last snapshot ended at 20" in summary
    assert _found_silent(engine) == 1
    with _workers(engine, tmp_path, number):
        # Long enough for a start, and for three intervals.
        time.sleep(8)
        _until(lambda: _behind(engine) == 0, _START_SECONDS)
    # That nothing comes of `well` any more is told; of `lost` nothing again.
    assert [name for name, _ in _silences(engine)].count("lost") == 1


@pytest.mark.postgres
def test_two_workers_share_hosts_and_may_be_killed(postgres_engine: Engine, tmp_path: Path, thorough: bool) -> None:
    """While snapshots of eight hosts come, workers are killed -9 again and again: each is detected, and once."""
    fleet = [_Host(postgres_engine, f"bastion-{number}") for number in range(8)]
    last = 3 if thorough else 1
    for rounds in range(last + 1):
        with _workers(postgres_engine, tmp_path, 2) as running:
            begin = time.monotonic()
            while time.monotonic() - begin < 6:
                for host in fleet:
                    host.send()
                time.sleep(0.25)  # some time for each round
            if rounds == last:
                _until(lambda: _behind(postgres_engine) == 0, 150)
            for process in running:
                process.send_signal(signal.SIGKILL)
    with reading(postgres_engine) as connection:
        of_host = select(packed_observations.c.host_id, func.count()).group_by(packed_observations.c.host_id)
        detected = sorted(each[1] for each in connection.execute(of_host))
        twice = select(packed_observations.c.host_id, packed_observations.c.seq).group_by(
            packed_observations.c.host_id, packed_observations.c.seq
        )
        assert connection.execute(twice.having(func.count() > 1)).all() == []
    assert detected == sorted(host.sent for host in fleet)
