"""Work in processes of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from detector.errors import DetectorError
from detector.evaluation.crew import Crew

if TYPE_CHECKING:
    from pathlib import Path


def _sleep(begun: Path | None = None) -> bytes:
    if begun is not None:
        begun.touch()
    time.sleep(60)
    return b""


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_piece_is_done_and_what_comes_of_it_comes_back(jobs: int) -> None:
    """Also what a piece gives rise to, and more bytes than a pipe holds."""
    crew, found = Crew(jobs), []

    def done(content: bytes) -> None:
        found.append(len(content))
        if len(content) == 300_000:
            crew.add(lambda: b"later", done)

    for size in (3, 300_000, 0):
        crew.add(partial(bytes, size), done)
    crew.run()
    assert sorted(found) == [0, 3, 5, 300_000]


def test_a_piece_that_fails_ends_it_and_leaves_no_process(capfd: pytest.CaptureFixture[str]) -> None:
    """What went wrong is said, and the others are not waited for."""
    crew = Crew(2)
    crew.add(_sleep, lambda _: None)
    crew.add(lambda: bytes(1 // 0), lambda _: None)
    began = time.monotonic()
    with pytest.raises(DetectorError, match="without a result"):
        crew.run()
    assert time.monotonic() - began < 30
    assert "ZeroDivisionError" in capfd.readouterr().err
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_killed_piece_is_told_with_what_to_do() -> None:
    """That is what the kernel does when memory runs out."""
    crew = Crew(2)

    def killed() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    crew.add(killed, lambda _: None)
    with pytest.raises(DetectorError) as caught:
        crew.run()
    assert caught.value.hint == "use fewer at a time: --jobs 1"


def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    """Whoever interrupts the one that waits leaves no process behind."""
    crew = Crew(2)
    for name in ("one", "other"):
        crew.add(partial(_sleep, tmp_path / name), lambda _: None)

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Timer(0, interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            crew.run()
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
