"""Fixtures for tests of the real kernel. They need root, and fail where it is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detector.domain import ConnectionCount

STORM = Path(__file__).with_name("connect_storm.py")


def storm(*arguments: str | int) -> list[str]:
    """Command line of the test client."""
    return [sys.executable, str(STORM), *map(str, arguments)]


@pytest.fixture
def live() -> Iterator[LiveCollector]:
    """A collector on the real kernel."""
    with Capture(map_entries=65_536) as capture:
        yield LiveCollector(capture, "test-host")


@pytest.fixture
def counted(live: LiveCollector) -> Callable[[int], ConnectionCount]:
    """The sum of what was counted since the start for one remote port, which must be of one key."""

    def find(port: int) -> ConnectionCount:
        found = [count for count in live.take().counts if count.key.remote_port == port]
        assert len(found) == 1, found
        return found[0]

    return find


@pytest.fixture
def blackhole() -> Iterator[list[str]]:
    """A network namespace in which 10.99.0.0/24 swallows everything; gives the command prefix to run in it."""
    name = f"detector-test-{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in (
            ["ip", "link", "add", "hole", "type", "veth", "peer", "name", "void"],
            ["ip", "link", "set", "void", "up"],
            ["ip", "address", "add", "10.99.0.1/24", "dev", "hole"],
            ["ip", "link", "set", "hole", "up"],
            ["ip", "link", "set", "lo", "up"],
            # The neighbour must be known, or the SYN never leaves and the kernel answers "no route".
            ["ip", "neighbour", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:01", "dev", "hole"],
        ):
            subprocess.run([*inside, *command], check=True)
        yield inside
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
