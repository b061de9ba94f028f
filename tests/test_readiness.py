"""What the service manager is told."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from detector import readiness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The manager's end of the socket that is named in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


class _Pauses(threading.Event):
    """Notes for how long it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.asked.append(timeout)
        return super().wait(timeout)


def test_signs_of_life_come_while_the_loop_waits_and_end_with_it(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each quarter of the time in which the manager would act, however long the loop's own pause is."""
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    watchdog = readiness.begun()
    assert manager.recv(100) == b"READY=1"
    began, pauses = time.monotonic(), _Pauses()
    assert not watchdog.wait(pauses, 0.21)
    assert time.monotonic() - began >= 0.21
    assert max(pauses.asked) <= 0.05
    assert len(pauses.asked) > 1
    assert [manager.recv(100) for _ in pauses.asked] == [b"WATCHDOG=1"] * len(pauses.asked)


def test_a_stop_ends_the_wait_at_once(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is told, so that the manager waits for the end."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    assert readiness.Watchdog().wait(stop, 60)
    assert time.monotonic() - began < 10
    readiness.stopping()
    assert (manager.recv(100), manager.recv(100)) == (b"WATCHDOG=1", b"STOPPING=1")


def test_signs_that_are_wanted_of_another_process_are_not_given(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child would keep its parent's watchdog quiet."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    readiness.Watchdog().wait(threading.Event(), 0.01)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.parametrize("address", ["", "/nonexistent/notify", "@nobody-listens-here", "vsock:2:1"])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault, and no delay."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    readiness.begun()
    readiness.stopping()
