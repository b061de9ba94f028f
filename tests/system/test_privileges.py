"""What capture needs of a machine, what it says when that is missing, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

_DETECTOR = [sys.executable, "-m", "detector"]
_THREE = "-all,+bpf,+perfmon,+dac_read_search"
_UNPRIVILEGED = [
    "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
    "--bounding-set", _THREE, "--inh-caps", _THREE, "--ambient-caps", _THREE, "--no-new-privs",
]  # fmt: skip


def _environment(state: Path) -> dict[str, str]:
    # Not measured: coverage could not write its file as the unprivileged user, and says so at length.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**inherited, "DETECTOR_STATE_FOLDER": str(state), "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1"}


def _loaded() -> set[int]:
    """The numbers of all programs in the kernel, whoever loaded them."""
    shown = subprocess.run(["bpftool", "--json", "prog", "show"], check=True, capture_output=True).stdout
    return {program["id"] for program in json.loads(shown)}


def _held_by(pid: int) -> set[int]:
    """The numbers of the programs that a process holds."""
    described = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return {int(found.group(1)) for text in described if (found := re.search(r"^prog_id:\s+(\d+)", text, re.MULTILINE))}


def _wait_for_snapshot(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    for line in process.stdout:
        if "snapshot" in line:
            return line
    raise AssertionError("collect ended without a snapshot")


@pytest.mark.usefixtures("sqlite_url")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_attached_however_collect_ends(tmp_path: Path, number: signal.Signals) -> None:
    """kill -9 included: the kernel detaches with the last descriptor."""
    with subprocess.Popen(
        [*_DETECTOR, "collect"], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        _wait_for_snapshot(process)
        held = _held_by(process.pid)
        assert held
        assert held <= _loaded()
        process.send_signal(number)
        code = process.wait(60)
    deadline = time.monotonic() + 60
    while held & _loaded() and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel frees programs after a grace period
    assert not held & _loaded()
    assert code == (-number if number == signal.SIGKILL else 0)


@pytest.mark.usefixtures("sqlite_url")
def test_collect_works_with_three_capabilities_alone(tmp_path: Path) -> None:
    """As an unprivileged user with CAP_BPF, CAP_PERFMON and CAP_DAC_READ_SEARCH: counted and named."""
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, 65534, 65534)
    with subprocess.Popen(
        [*_UNPRIVILEGED, *_DETECTOR, "collect"], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        _wait_for_snapshot(process)
        subprocess.run(["nc", "-z", "127.0.0.1", "31"], check=False)
        _wait_for_snapshot(process)
        process.terminate()
        assert process.wait(60) == 0
    found = json.loads(
        subprocess.run(
            [*_DETECTOR, "query", "--port", "31", "--exe", "*/nc.openbsd", "--json"],
            check=True, capture_output=True, env=_environment(tmp_path),
        ).stdout
    )  # fmt: skip
    assert [(row["user"], row["refused"]) for row in found] == [("root", 1)]
    assert found[0]["executable"].endswith("nc.openbsd")


def test_everything_that_is_missing_is_named_at_once_with_its_remedy(tmp_path: Path) -> None:
    """No privileges, no tracefs, no bcc: one message, and a non-zero exit. Type information can be done without."""
    bare = (
        "mount -t tmpfs none /sys/kernel/btf && mount -t tmpfs none /sys/kernel/tracing && "
        "mount -t tmpfs none /usr/lib/python3/dist-packages/bcc && "
        # Allowed to read everything: the checkout under test may lie where only root may look.
        "exec setpriv --reuid 65534 --clear-groups --inh-caps=-all,+dac_read_search "
        f"--ambient-caps=-all,+dac_read_search {' '.join(_DETECTOR)} run"
    )
    tmp_path.chmod(0o777)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", bare],
        env=_environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    for fault in ("lacks CAP_PERFMON, CAP_BPF", "tracefs is not mounted", "bcc"):
        assert fault in done.stderr
    assert done.stderr.count("remedy: ") == 3
    assert "Traceback" not in done.stderr


# What a collector does once its privileges are dropped, and what it then cannot do.
_DROPPED = """
import json, sqlite3, subprocess, sys
from pathlib import Path
from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from detector.collector.privileges import drop
from detector.errors import CaptureError

database, foreign = map(Path, sys.argv[1:])
with Capture(map_entries=1024) as capture, LiveCollector(capture, "test-host") as live:
    said = drop(database)
    subprocess.run(["nc", "-z", "127.0.0.1", "32"])
    snapshot = live.take()
    found = {"said": said, "passed": snapshot.health.self_test_passed, "lost": snapshot.losses.nonzero()}
    found["rows"] = [(c.key.user, c.key.unit, c.refused) for c in snapshot.counts if c.key.remote_port == 32]
    try:
        foreign.write_text("")
    except PermissionError:
        found["foreign"] = "refused"
    try:
        Capture(map_entries=1024).close()
    except CaptureError:
        found["load"] = "refused"
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    status = {name: value.strip() for name, value, *_ in lines}
    found["sets"] = [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")]
    found["no new privileges"] = status["NoNewPrivs"]
    with sqlite3.connect(database) as connection:
        connection.execute("create table written (number)")
    # As in a crash: what SQLite made beside the database stays.
    print(json.dumps(found), flush=True)
    __import__("os")._exit(0)
"""
_DAC_OVERRIDE, _DAC_READ_SEARCH, _CHOWN = 1 << 1, 1 << 2, 1 << 0


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of somebody else's, who lets nobody write it."""
    path = tmp_path / "foreign"
    path.touch(0o600)
    os.chown(path, 1, 1)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An SQLite database in a folder of its own, which others may not read."""
    folder = tmp_path / "state"
    folder.mkdir(0o750)
    path = folder / "detector.db"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma journal_mode=wal")
    path.chmod(0o640)
    return path


@pytest.fixture
def unit() -> Iterator[list[str]]:
    """A command prefix that runs a program in the control group of detector-test.service."""
    mounts = [line.split(" ") for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    root = next(where for _, where, kind, *_ in mounts if kind == "cgroup2")
    folder = Path(root) / "detector-privileges.service"
    folder.mkdir()
    yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
    folder.rmdir()


def _dropped(database: Path, foreign: Path, prefix: list[str]) -> dict[str, Any]:
    command = [*prefix, sys.executable, "-P", "-c", _DROPPED, str(database), str(foreign)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def test_privileges_that_are_dropped_are_gone_and_counting_goes_on(
    database: Path, foreign: Path, unit: list[str]
) -> None:
    """Root's collector is left with one capability: it counts, names and stores, and can load nothing any more."""
    found = _dropped(database, foreign, unit)
    assert found["rows"] == [["root", "detector-privileges.service", 1]]
    assert (found["passed"], found["lost"], found["said"]) == (True, {}, [])
    assert (found["load"], found["foreign"]) == ("refused", "refused")
    assert found["sets"] == [_DAC_READ_SEARCH, _DAC_READ_SEARCH, 0, 0, _DAC_READ_SEARCH]
    assert found["no new privileges"] == "1"


_LIMITED = """
import json, os, subprocess, sys
from pathlib import Path
from detector.account import of_service
from detector.bpf.capture import Capture
from detector.collector.privileges import limit

limit(of_service(sys.argv[1]))
lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
status = {name: int(value, 16) for name, value, *_ in lines if name.startswith("Cap")}
started = subprocess.run(["grep", "CapPrm", "/proc/self/status"], check=True, capture_output=True, text=True).stdout
with Capture(map_entries=1024):
    print(json.dumps([status, int(started.split()[1], 16)]))
"""


@pytest.mark.parametrize(("account", "more"), [("root", (0, 1)), ("nobody", (6, 7))], ids=["root's", "an account's"])
def test_roots_collector_and_its_loader_hold_no_more_than_they_need_to_start(
    account: str, more: tuple[int, int]
) -> None:
    """Loading, naming, and either writing another one's database, or becoming the account that it belongs to."""
    command = [sys.executable, "-P", "-c", _LIMITED, account]
    status, started = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    needed = sum(1 << number for number in (*more, 2, 8, 19, 38, 39))
    # Linux before 5.11 wants CAP_SYS_RESOURCE.
    assert {status[name] & ~(1 << 24) for name in ("CapEff", "CapPrm", "CapBnd")} == {needed}
    assert started & ~(1 << 24) == needed


def test_dropping_harms_no_collector_with_three_capabilities(database: Path, foreign: Path, unit: list[str]) -> None:
    """The bounding set, which such a process may not change, does not matter without new privileges."""
    for path in (database.parent, *database.parent.iterdir()):
        os.chown(path, 65534, 65534)
    found = _dropped(database, foreign, [*unit, *_UNPRIVILEGED])
    assert found["rows"] == [["nobody", "detector-privileges.service", 1]]
    assert (found["passed"], found["said"], found["load"]) == (True, [], "refused")
    assert found["sets"][:4] == [_DAC_READ_SEARCH, _DAC_READ_SEARCH, 0, 0]
    assert found["no new privileges"] == "1"


def test_a_database_of_another_users_stays_writable_for_both_and_what_that_takes_is_said(
    database: Path, foreign: Path, unit: list[str]
) -> None:
    """Root would make files beside it that its owner could not open."""
    for path in (database.parent, *database.parent.iterdir()):
        os.chown(path, 65534, 65534)
    found = _dropped(database, foreign, unit)
    assert found["sets"][0] == _DAC_READ_SEARCH | _DAC_OVERRIDE | _CHOWN
    (said,) = found["said"]
    assert said.startswith(f"writing {database} takes CAP_DAC_OVERRIDE and CAP_CHOWN")
    beside = database.with_name("detector.db-wal")
    assert (beside.stat().st_uid, found["load"]) == (65534, "refused")


@pytest.mark.usefixtures("sqlite_url")
def test_a_second_collector_on_the_same_host_is_refused(tmp_path: Path) -> None:
    """Every connect would be stored twice."""
    with subprocess.Popen(
        [*_DETECTOR, "collect"], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as first:
        _wait_for_snapshot(first)
        second = subprocess.run(
            [*_DETECTOR, "collect"], env=_environment(tmp_path), capture_output=True, text=True, check=False
        )
        first.terminate()
    assert second.returncode != 0
    assert "another collect is running" in second.stderr
