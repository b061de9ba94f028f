"""A control group of its own for a service, which says what memory it may have."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_FIRST, _SECOND = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
_UNLIMITED = {"memory.limit_in_bytes": "-1", "memory.max": "max"}
_GONE_SECONDS = 10


class MemoryGroup:
    """Of the second version of control groups, or the first where that is how memory is limited."""

    def __init__(self, name: str) -> None:
        first = _FIRST.is_dir()
        self._folder = (_FIRST if first else _SECOND) / name
        self._limit = self._folder / ("memory.limit_in_bytes" if first else "memory.max")
        self._usage = self._folder / ("memory.usage_in_bytes" if first else "memory.current")
        self._folder.mkdir()
        assert self._limit.exists(), f"{self._limit}: control groups here do not limit memory"

    def inside(self, command: list[str]) -> list[str]:
        """The command that runs `command` in this group."""
        return ["sh", "-c", f'echo $$ > {self._folder}/cgroup.procs && exec "$@"', "sh", *command]

    def limit(self, more_bytes: int) -> None:
        """Lets it have so much more than it has now."""
        self._limit.write_text(str(int(self._usage.read_text()) + more_bytes))

    def release(self) -> None:
        """There is no limit."""
        self._limit.write_text(_UNLIMITED[self._limit.name])

    def processes(self) -> list[int]:
        """All that are in it."""
        return [int(line) for line in (self._folder / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        """Ends all that are in it, and removes it."""
        deadline = time.monotonic() + _GONE_SECONDS
        while pids := self.processes():
            assert time.monotonic() < deadline, pids
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            time.sleep(0.05)
        self._folder.rmdir()
