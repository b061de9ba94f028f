"""What a running `collect` holds and shows, and that nothing is lost while it becomes what it is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import storm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.kernel

_DETECTOR = [sys.executable, "-m", "detector"]
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_ROLE = b"detector.cli.roles"


class Collect:
    """A running `detector collect` with an SQLite database whose address only a file knows."""

    def __init__(self, state: Path, database_url: str) -> None:
        secret = state / "url"
        (state / "detector.db").rename(state / "unspoken.db")
        secret.write_text(database_url.replace("detector.db", "unspoken.db"))
        secret.chmod(0o600)
        environment = {
            # Not measured: what a process holds is looked at.
            **{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
            "DETECTOR_STATE_FOLDER": str(state),
            "DETECTOR_DATABASE_URL_FILE": str(secret),
            "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1",
        }
        self.output = state / "output"
        # As `run` starts it: what ends it waits until it can be heeded.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        with self.output.open("wb") as file:
            self.process = subprocess.Popen([*_DETECTOR, "collect"], env=environment, stdout=file, stderr=file)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def text(self) -> str:
        """What it said so far."""
        return self.output.read_text(encoding="utf-8")

    def shown(self, what: str) -> bytes:
        """A file of its folder in /proc."""
        return Path(f"/proc/{self.process.pid}/{what}").read_bytes()

    @property
    def megabytes(self) -> float:
        """Its proportional memory."""
        found = re.search(rb"^Pss:\s+(\d+) kB", self.shown("smaps_rollup"), re.MULTILINE)
        assert found
        return int(found.group(1)) / 1000

    def until(self, condition: Callable[[], object]) -> None:
        """Waits for it, a minute at most."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.01)  # waits for another process, which has no other way to tell

    def snapshots(self, number: int) -> None:
        """Waits for so many more."""
        before = self.text.count("snapshot")
        self.until(lambda: self.text.count("snapshot") >= before + number)


@pytest.fixture
def collect(tmp_path: Path, sqlite_url: str) -> Iterator[Collect]:
    """`detector collect`, just started."""
    started = Collect(tmp_path, sqlite_url)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def test_it_holds_nothing_that_only_others_need(collect: Collect) -> None:
    """No compiler, no library of the command line or of detection, no OpenSSL; and no more than 40 MB."""
    collect.snapshots(3)
    maps = collect.shown("maps").decode()
    assert "libsqlite3" in maps
    for library in ("libbcc", "LLVM", "msgspec", "numpy", "yaml", "libssl", "libcrypto"):
        assert library not in maps
    assert collect.megabytes < 40


@pytest.mark.alone
def test_memory_falls_back_after_a_snapshot_of_very_many_keys(collect: Collect) -> None:
    """30,000 ports in a second or two: of the 120 MB and more that it takes to store them, nearly all is given back."""
    collect.snapshots(2)
    before = collect.megabytes
    for first in (1000, 31000):
        subprocess.run(storm("scan", "127.0.0.1", first, 30_000), check=True, stdout=subprocess.DEVNULL)
        collect.snapshots(3)
    # Whatever waited for the database meanwhile is read again to be stored.
    collect.until(lambda: collect.megabytes < before + 30)


def test_the_address_of_the_database_is_not_shown_to_others(collect: Collect) -> None:
    """Neither the list of processes nor the environment has it: there may be a password in it."""
    collect.snapshots(1)
    assert _ROLE in collect.shown("cmdline")
    assert b"unspoken" not in collect.shown("cmdline")
    assert b"unspoken" not in collect.shown("environ")


def test_an_end_that_comes_before_it_has_begun_is_heeded(collect: Collect) -> None:
    """It ends as if it had been asked later: nothing is counted, and nothing said."""
    collect.process.terminate()
    assert collect.process.wait(60) == 0
    assert collect.text == ""


@pytest.mark.parametrize("number", sorted(_ENDING))
def test_an_end_that_comes_while_it_becomes_a_collector_is_heeded(collect: Collect, number: signal.Signals) -> None:
    """The last snapshot is stored, and there is no traceback."""
    collect.until(lambda: _ROLE in collect.shown("cmdline"))
    collect.process.send_signal(number)
    assert collect.process.wait(60) == 0
    assert collect.text.count("snapshot") == 1
    assert len(collect.text.splitlines()) == 1
