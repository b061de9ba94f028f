"""What a running collector holds over time, on a machine on which nothing else connects: `make test-vm`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

_MINUTES = float(os.environ.get("DETECTOR_TEST_MINUTES", "3"))
_LOOK_SECONDS = 20.0
_PATIENCE_SECONDS = 300.0
_LARGEST_MEGABYTES = 40.0
_NOISE_MEGABYTES = 0.5


@pytest.mark.timeout(60 * _MINUTES + 2 * _PATIENCE_SECONDS)
def test_a_collector_stays_below_40_mb_and_does_not_grow(tmp_path: Path) -> None:
    """`detector run` as it comes, a snapshot each ten seconds; DETECTOR_TEST_MINUTES says for how long."""
    # detector refuses variables of its prefix that are not settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_TEST_")}
    environment["DETECTOR_STATE_FOLDER"] = str(tmp_path)
    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "detector", "run"], env=environment, stdout=file, stderr=file
        ) as service,
    ):
        try:
            held = list(_held(service, output))
        finally:
            service.terminate()
    print(f"MB PSS of collect, each {_LOOK_SECONDS:g} s: {' '.join(f'{each:.1f}' for each in held)}")
    assert max(held) <= _LARGEST_MEGABYTES
    third = len(held) // 3
    assert median(held[-third:]) <= median(held[:third]) + _NOISE_MEGABYTES


def _held(service: subprocess.Popen[bytes], output: Path) -> Iterator[float]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while b"snapshot 1 " not in output.read_bytes():
        assert service.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.5)  # waits for other processes, which have no other way to tell
    collect = _collector(service.pid)
    end = time.monotonic() + 60 * _MINUTES
    while time.monotonic() < end:
        yield _megabytes(collect)
        time.sleep(_LOOK_SECONDS)


def _collector(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    (found,) = (
        int(child) for child in children if b"collect" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    )
    return found


def _megabytes(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found
    return int(found.group(1)) / 1000
