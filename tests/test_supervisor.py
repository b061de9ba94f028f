"""How soon what has ended is started again."""

from __future__ import annotations

import os
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from detector import supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# A role that cannot start while there is a file "wrong", and is at work while there is a file "at-work".
_ROLE = """
import os, sys, time
if os.path.exists("wrong"):
    sys.exit(os.EX_CONFIG)
open("at-work", "w").close()
while os.path.exists("at-work"):
    time.sleep(0.01)
"""
# And one that does not heed the signal.
_DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("at-work", "w").close()
time.sleep(60)
"""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the supervisor of such a role says, whose times are shorter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "_STARTED_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "_WATCH_SECONDS", 0.01)

    def command(_arguments: Sequence[str], _verb: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", _ROLE]

    monkeypatch.setattr(supervisor, "_command", command)
    return []


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # waits for other processes, which have no other way to tell


def test_a_role_is_back_soon_after_what_was_wrong_is_right(tmp_path: Path, said: list[str]) -> None:
    """It had started before: what is wrong now may be so for a moment, and nobody watches meanwhile."""
    stop = supervisor.Stop()
    watching = Thread(target=supervisor.supervise, args=(["collect"], [], [], stop, said.append))
    watching.start()
    try:
        _until((tmp_path / "at-work").exists)
        time.sleep(0.2)  # for as long as it has to be at work
        (tmp_path / "wrong").touch()
        (tmp_path / "at-work").unlink()
        _until(lambda: sum(f"exit code {os.EX_CONFIG}" in each for each in said) == 2)
        (tmp_path / "wrong").unlink()
        right = time.monotonic()
        _until((tmp_path / "at-work").exists)
        assert time.monotonic() - right < 5
    finally:
        stop.set()
        watching.join()


def test_a_role_that_does_not_end_is_killed_and_the_exit_code_says_so(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shells count: 137."""
    monkeypatch.setattr(supervisor, "_STOP_SECONDS", 0.2)
    monkeypatch.setattr(supervisor, "_command", lambda *_: [sys.executable, "-c", _DEAF])
    stop = supervisor.Stop()
    codes: list[int] = []
    watching = Thread(target=lambda: codes.append(supervisor.supervise(["collect"], [], [], stop, said.append)))
    watching.start()
    _until((tmp_path / "at-work").exists)
    stop.set()
    watching.join(20)
    assert codes == [137]
    assert said[0].startswith("collect did not end in 0 s and is killed")
