"""A verb is replaced by the process that lives as long as the service."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ASKED_TO_END_JUST_BEFORE = """
import os, signal
from detector import supervisor
from detector.cli import roles

stop = supervisor.catch_signals()
os.kill(os.getpid(), signal.SIGINT)
roles.become("run", {"arguments": [], "options": []}, stop)
print("ended")
"""


def test_a_signal_that_came_just_before_a_verb_is_replaced_is_not_lost() -> None:
    """Whoever pressed Ctrl-C is not left with a service that goes on as if nobody had."""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", _ASKED_TO_END_JUST_BEFORE], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


# What it is replaced by says which files it would make.
_BECOMES = """
from detector import supervisor
from detector.cli import roles

supervisor.PYTHON = ("sh", "-c", "umask")
roles.sys.executable = "/bin/sh"
roles.become("collect", {}, supervisor.catch_signals())
"""


@pytest.mark.parametrize(("before", "wanted"), [(0o000, 0o027), (0o022, 0o027), (0o077, 0o077)])
@pytest.mark.usefixtures("store")
def test_what_a_role_makes_is_open_to_no_other_user(before: int, wanted: int) -> None:
    """SQLite makes files beside the database, and one in its place: whatever umask root has, unless it is stricter."""
    becomes = subprocess.run([sys.executable, "-c", _BECOMES], umask=before, capture_output=True, text=True, check=True)
    assert int(becomes.stdout, 8) == wanted
    command = [sys.executable, "-m", "detector", "detect"]
    with subprocess.Popen(command, umask=before) as process:
        try:
            assert _umask(process, wanted) == wanted
        finally:
            process.terminate()


def _umask(process: subprocess.Popen[bytes], wanted: int) -> int:
    """That of a process, which is given some time to come to what is wanted."""
    until = time.monotonic() + 20
    while True:
        found = re.search(r"^Umask:\s*(\d+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        assert found
        if int(found[1], 8) == wanted or time.monotonic() > until:
            return int(found[1], 8)
        time.sleep(0.01)  # the process has no other way to tell
