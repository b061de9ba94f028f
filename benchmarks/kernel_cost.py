"""What a change of a socket's state costs in the kernel, by the kernel's own statistics."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from detector.bpf.capture import Capture
from tests.system.conftest import storm

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
_CONNECTS = 50_000


@contextmanager
def _statistics() -> Iterator[None]:
    before = _STATISTICS.read_text(encoding="ascii")
    _STATISTICS.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        _STATISTICS.write_text(before, encoding="ascii")


def measure() -> Iterator[Figure]:
    """Connects to one port that accepts, then to as many ports as there are that refuse: the second adds a key each."""
    with _statistics(), Capture(map_entries=65_536) as capture:
        server = subprocess.Popen(storm("serve", "127.0.0.1", 7003), stdout=subprocess.PIPE)
        try:
            assert server.stdout
            server.stdout.readline()
            yield from _run(capture, "one key, accepted", storm("connect", "127.0.0.1", 7003, _CONNECTS))
            capture.drain()
            yield from _run(capture, "a new key each, refused", storm("scan", "127.0.0.1", 8000, _CONNECTS))
        finally:
            server.kill()
            server.communicate()


def _run(capture: Capture, name: str, command: list[str]) -> Iterator[Figure]:
    before = capture.program_statistics()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = capture.program_statistics()
    programs = ("sock:inet_sock_set_state", "rescue")
    nanoseconds = sum(after[each][0] - before[each][0] for each in programs)
    changes = after[programs[0]][1] - before[programs[0]][1]
    yield Figure(f"per state change, {name}", nanoseconds / changes, "ns", f"mean of {changes:,} changes")
