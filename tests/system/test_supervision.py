"""`detector run` keeps both roles alive, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.kernel

_DETECTOR = [sys.executable, "-m", "detector"]


class Service:
    """A running `detector run`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.output = state / "output"
        environment = {
            **os.environ,
            "DETECTOR_STATE_FOLDER": str(state),
            "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1",
        }
        with self.output.open("wb") as file:
            self.process = subprocess.Popen([*_DETECTOR, "run"], env=environment, stdout=file, stderr=file)

    @property
    def text(self) -> str:
        """What it said so far."""
        return self.output.read_text(encoding="utf-8")

    def roles(self) -> dict[str, int]:
        """The processes of the roles, by name."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        found = {}
        for child in children:
            arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            found.update({role: int(child) for role in ("collect", "detect") if role.encode() in arguments})
        return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """`detector run`, with its first snapshot taken and both roles at work."""
    with _at_work(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same for the tests that leave it at work."""
    with _at_work(tmp_path_factory.mktemp("lasting")) as started:
        yield started


@contextmanager
def _at_work(state: Path) -> Iterator[Service]:
    started = Service(state)
    try:
        _until(lambda: "snapshot 1 " in started.text and "learning" in started.text, started)
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def _until(condition: Callable[[], object], service: Service) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, service.text
        time.sleep(0.05)  # waits for other processes, which have no other way to tell


@pytest.mark.parametrize("role", ["collect", "detect"])
def test_a_role_that_dies_is_started_again_and_that_is_said(lasting: Service, role: str) -> None:
    """kill -9: named with its signal, and a new process at work within seconds."""
    before = lasting.roles()
    os.kill(before[role], signal.SIGKILL)
    _until(lambda: lasting.roles().get(role, before[role]) != before[role], lasting)
    assert f"{role} was ended by signal 9 (Killed); starting it again in 1 s" in lasting.text
    seen = lasting.text.count("snapshot")
    _until(lambda: lasting.text.count("snapshot") > seen, lasting)


def test_both_roles_end_with_the_process_that_watches_them(service: Service) -> None:
    """Even when that is killed: no collector is left to count twice."""
    roles = service.roles()
    service.process.kill()
    service.process.wait()
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in roles.values()), service)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_itself_with_a_last_snapshot_and_no_noise(service: Service, number: signal.Signals) -> None:
    """Ctrl-C: exit code 0, both roles gone before anybody has to kill them, no traceback."""
    roles = service.roles()
    subprocess.run(["nc", "-z", "127.0.0.1", "41"], check=False)
    for pid in (service.process.pid, *roles.values()):
        # A terminal sends it to all of them.
        os.kill(pid, number)
    # A role that does not end by itself within 5 s is killed, that is said, and this is not 0.
    assert service.process.wait(60) == 0
    assert "did not end" not in service.text
    assert not any(Path(f"/proc/{pid}").exists() for pid in roles.values())
    # Whatever else connects on this host meanwhile is counted too.
    assert re.search(r"connects? \(.*\d refused\b", service.text)
    assert "Traceback" not in service.text


def test_snapshots_wait_while_the_database_is_locked_and_none_is_lost(lasting: Service) -> None:
    """Another program holds SQLite's write lock: what was counted meanwhile is there afterwards."""
    import sqlite3

    holder = sqlite3.connect(lasting.state / "detector.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    before = len(lasting.text)
    for port in (51, 52, 54):
        subprocess.run(["nc", "-z", "127.0.0.1", str(port)], check=False)
    time.sleep(2.5)  # at least two snapshots fall into this
    holder.execute("ROLLBACK")
    # Of this program alone: whatever else runs on this host is counted as well.
    counted = "SELECT count(*) FROM connection_keys WHERE remote_port IN (51, 52, 54) AND command = 'nc'"
    _until(lambda: holder.execute(counted).fetchone()[0] == 3, lasting)
    holder.close()
    assert "LOST" not in lasting.text[before:]


def test_run_refuses_a_database_that_cannot_be_made(tmp_path: Path) -> None:
    """One message with the reason, a non-zero exit, and no role left running."""
    (tmp_path / "file").touch()
    environment = {**os.environ, "DETECTOR_DATABASE_URL": f"sqlite:///{tmp_path}/file/detector.db"}
    done = subprocess.run([*_DETECTOR, "run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{tmp_path}/file is not a folder" in done.stderr
    assert done.stderr.count("detector:") == 1
    assert "Traceback" not in done.stderr


def test_it_ends_when_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    """`detector run | head`: not started again and again, with nothing counted in between."""
    environment = {**os.environ, "DETECTOR_STATE_FOLDER": str(tmp_path), "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1"}
    with subprocess.Popen(
        [*_DETECTOR, "run"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) != 0
        assert "Traceback" not in process.stderr.read()


def _family(pid: int) -> Iterator[Path]:
    """The folder in /proc of a process, and those of all that descend from it."""
    yield Path(f"/proc/{pid}")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        yield from _family(int(child))


def _doing(pid: int, argument: bytes, library: str) -> bool:
    """Whether a process of the family was started with an argument and has got to a library."""
    # What ended since it was looked up does nothing any more.
    with suppress(FileNotFoundError, ProcessLookupError):
        for folder in _family(pid):
            if argument in (folder / "cmdline").read_bytes().split(b"\0") and library in (folder / "maps").read_text(
                encoding="utf-8"
            ):
                return True
    return False


@pytest.mark.parametrize(
    ("argument", "library"),
    # Later than the interpreter's own start, which nobody can interrupt without its complaining.
    [(b"run", "msgspec"), (b"upgrade", "sqlite3"), (b"detector.bpf.program", "libbcc"), (b"detect", "numpy")],
    ids=["importing", "migrating", "compiling", "importing in a role"],
)
def test_ctrl_c_while_it_starts_is_clean(tmp_path: Path, argument: bytes, library: str) -> None:
    """Whatever it is doing, importing, migrating, compiling: no traceback, and nothing left running."""
    # Nothing is kept of what is compiled.
    environment = {**os.environ, "DETECTOR_STATE_FOLDER": str(tmp_path), "DETECTOR_COLLECTOR_CACHE_FOLDER": ""}
    process = subprocess.Popen(
        [*_DETECTOR, "run"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not _doing(process.pid, argument, library):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)  # waits for other processes, which have no other way to tell
    os.killpg(process.pid, signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in output


def test_modules_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    """root types `detector run` where somebody else may write: what lies there is not imported."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("click", "detector", "sqlalchemy", "bcc", "json"):
        (trap / f"{name}.py").write_text("open('sprung', 'w')\nraise SystemExit('sprung')\n")
    environment = {**os.environ, "DETECTOR_STATE_FOLDER": str(tmp_path), "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1"}
    program = Path(sys.executable).with_name("detector")
    with subprocess.Popen([program, "run"], cwd=trap, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any("snapshot" in line for line in process.stdout)
        process.terminate()
        process.communicate()
    assert not (trap / "sprung").exists()


@pytest.mark.usefixtures("sqlite_url")
def test_a_log_that_cannot_be_written_does_not_stop_counting(tmp_path: Path) -> None:
    """The disk under standard output is full: said once, and every snapshot is stored."""
    import sqlite3

    environment = {**os.environ, "DETECTOR_STATE_FOLDER": str(tmp_path), "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1"}
    with (
        open("/dev/full", "w", encoding="utf-8") as full,  # noqa: PTH123  a device
        subprocess.Popen([*_DETECTOR, "collect"], env=environment, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        database = sqlite3.connect(tmp_path / "detector.db")
        deadline = time.monotonic() + 60
        while database.execute("SELECT count(*) FROM snapshots").fetchone()[0] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # waits for another process, which has no other way to tell
        process.terminate()
        _, said = process.communicate()
        database.close()
    assert said.count(b"standard output: No space left on device") == 1
    assert b"Traceback" not in said


def test_a_database_file_that_is_removed_is_noticed(service: Service, tmp_path: Path) -> None:
    """What is written to an unlinked file would be gone with the process."""
    for path in tmp_path.glob("detector.db*"):
        path.unlink()
    _until(lambda: "the file was removed or replaced" in service.text, service)
