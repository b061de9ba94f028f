"""What capture needs of a machine, what it says when that is missing, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

_DETECTOR = [sys.executable, "-m", "detector"]


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


def _upgraded(state: Path) -> None:
    subprocess.run([*_DETECTOR, "db", "upgrade"], check=True, env=_environment(state), capture_output=True)


def _wait_for_snapshot(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    for line in process.stdout:
        if "snapshot" in line:
            return line
    raise AssertionError("collect ended without a snapshot")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_attached_however_collect_ends(tmp_path: Path, number: signal.Signals) -> None:
    """kill -9 included: the kernel detaches with the last descriptor."""
    _upgraded(tmp_path)
    with subprocess.Popen(
        [*_DETECTOR, "collect"], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        _wait_for_snapshot(process)
        held = _held_by(process.pid)
        assert len(held) == 3
        assert held <= _loaded()
        process.send_signal(number)
        code = process.wait(5)
    deadline = time.monotonic() + 5
    while held & _loaded() and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel frees programs after a grace period
    assert not held & _loaded()
    assert code == (-number if number == signal.SIGKILL else 0)


def test_collect_works_with_three_capabilities_alone(tmp_path: Path) -> None:
    """As an unprivileged user with CAP_BPF, CAP_PERFMON and CAP_DAC_READ_SEARCH: counted and named."""
    _upgraded(tmp_path)
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, 65534, 65534)
    held = "-all,+bpf,+perfmon,+dac_read_search"
    unprivileged = [
        "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
        "--bounding-set", held, "--inh-caps", held, "--ambient-caps", held, "--no-new-privs",
    ]  # fmt: skip
    with subprocess.Popen(
        [*unprivileged, *_DETECTOR, "collect"], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        _wait_for_snapshot(process)
        subprocess.run(["nc", "-z", "127.0.0.1", "31"], check=False)
        _wait_for_snapshot(process)
        process.terminate()
        assert process.wait(5) == 0
    found = json.loads(
        subprocess.run(
            [*_DETECTOR, "query", "--port", "31", "--json"],
            check=True, capture_output=True, env=_environment(tmp_path),
        ).stdout
    )  # fmt: skip
    assert [(row["user"], row["refused"]) for row in found] == [("root", 1)]
    assert found[0]["executable"].endswith("nc.openbsd")


def test_everything_that_is_missing_is_named_at_once_with_its_remedy(tmp_path: Path) -> None:
    """No privileges, no type information, no tracefs, no bcc: one message, and a non-zero exit."""
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
    for fault in ("lacks CAP_PERFMON, CAP_BPF", "/sys/kernel/btf/vmlinux is missing", "tracefs is not mounted", "bcc"):
        assert fault in done.stderr
    assert done.stderr.count("remedy: ") == 4
    assert "Traceback" not in done.stderr


def test_a_second_collector_on_the_same_host_is_refused(tmp_path: Path) -> None:
    """Every connect would be stored twice."""
    _upgraded(tmp_path)
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
