"""A running `detector run` whose SQLite file is damaged under it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.kernel

_PAGE = 4096


def _until(condition: Callable[[], object], output: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)  # waits for other processes, which have no other way to tell


def _number(path: Path, query: str) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (number,) = database.execute(query).fetchone()
    except sqlite3.Error:
        # It is being replaced.
        return 0
    return int(number)


def _into_the_file(path: Path) -> None:
    """Nothing is left in the log beside it."""
    with closing(sqlite3.connect(path, timeout=5)) as database:
        while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            time.sleep(0.01)


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // _PAGE // 3 * _PAGE)


def _overwrite(path: Path) -> None:
    """Every page but the first, whichever of them is used next."""
    random = Random(7)
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // _PAGE):
            file.seek(page * _PAGE)
            file.write(random.randbytes(_PAGE))


@pytest.mark.parametrize("damage", [_truncate, _overwrite])
def test_a_database_that_is_damaged_under_a_running_service_is_replaced(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Set aside once, by whichever role met it; no role is started again, snapshots go on, and an alert says so."""
    path, output = tmp_path / "detector.db", tmp_path / "output"
    environment = {
        **os.environ,
        "DETECTOR_STATE_FOLDER": str(tmp_path),
        "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1",
        "DETECTOR_HOST": "bastion-1",
    }
    command = [sys.executable, "-m", "detector", "run"]
    with output.open("wb") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as service:
        try:
            _until(lambda: "learning" in output.read_text(), output)
            _into_the_file(path)
            damage(path)
            _until(lambda: "a new one is in its place" in output.read_text(), output)
            told = "SELECT count(*) FROM alerts WHERE rule_title = 'The database was damaged and begins anew'"
            _until(lambda: _number(path, told), output)
            before = _number(path, "SELECT max(seq) FROM snapshots")
            _until(lambda: _number(path, "SELECT max(seq) FROM snapshots") > before, output)
        finally:
            service.terminate()
            assert service.wait(10) == 0
    text = output.read_text()
    (aside,) = tmp_path.glob("detector.db.damaged-*Z")
    assert text.count(f"it was set aside as {aside}") == 1
    assert "starting it again" not in text
    assert "Traceback" not in text
    with closing(sqlite3.connect(path)) as database:
        summaries = [summary for (summary,) in database.execute("SELECT summary FROM alerts")]
    assert any(
        f"database of bastion-1 was damaged and begins anew: what it held is in {aside}." in each for each in summaries
    )
