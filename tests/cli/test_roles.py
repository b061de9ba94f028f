"""A verb is replaced by the process that lives as long as the service."""

from __future__ import annotations

import subprocess
import sys

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
