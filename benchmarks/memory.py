"""Proportional memory (PSS) of each process of `detector run`, with a scan to keep it busy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from tests.system.conftest import storm

if TYPE_CHECKING:
    from collections.abc import Iterator

_SNAPSHOTS = 10


def measure() -> Iterator[Figure]:
    """After ten snapshots of a second, each with 1,000 connects."""
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "DETECTOR_STATE_FOLDER": state, "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1"}
        command = [sys.executable, "-m", "detector", "run"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout
            seen = 0
            for line in service.stdout:
                seen += "snapshot" in line
                subprocess.run(storm("scan", "127.0.0.1", 8000, 1000), check=True, stdout=subprocess.DEVNULL)
                if seen == _SNAPSHOTS:
                    break
            sizes = {"run": pss(service.pid)} | {role_of(child): pss(child) for child in children(service.pid)}
            service.terminate()
            service.communicate()
    for role, size in sizes.items():
        yield Figure(f"detector {role}", size, "MB PSS")


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def role_of(pid: int) -> str:
    """`collect` or `detect`."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return next(role for role in ("collect", "detect") if role.encode() in arguments)


def pss(pid: int) -> float:
    """Proportional memory of a process, MB: what it shares is divided by how many share it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found
    return int(found.group(1)) / 1000
