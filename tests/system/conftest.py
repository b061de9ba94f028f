"""Fixtures for tests of the real kernel. They need root, and fail where it is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from tests.system.island import island

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detector.domain import ConnectionCount

STORM = Path(__file__).with_name("connect_storm.py")


def storm(*arguments: str | int) -> list[str]:
    """Command line of the test client, which needs the standard library alone: neither site packages, nor coverage."""
    return [sys.executable, "-S", str(STORM), *map(str, arguments)]


@pytest.fixture
def live() -> Iterator[LiveCollector]:
    """A collector on the real kernel."""
    with Capture(map_entries=65_536) as capture, LiveCollector(capture, "test-host") as collector:
        yield collector


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
    with island("test") as inside:
        yield inside
