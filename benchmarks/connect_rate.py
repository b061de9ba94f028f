"""Connects per second over loopback: bare, with detector, and with bpftrace printing each connect."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from tests.system.conftest import storm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_ROUNDS = 9
_CONNECTS = 40_000
_PRINT_EACH = 'tracepoint:sock:inet_sock_set_state /args->newstate == 2/ { printf("%s %d\\n", comm, args->dport); }'


def measure() -> Iterator[Figure]:
    """Client and server share one core, so that no idle core has to be woken; the three take turns in each round."""
    watchers: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "bare": _nobody,
        "detector collect": _detector,
        "bpftrace, a line each": _bpftrace,
    }
    rates: dict[str, list[float]] = {name: [] for name in watchers}
    with subprocess.Popen(["taskset", "-c", "0", *storm("serve", "127.0.0.1", 7003)], stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        for _ in range(_ROUNDS):
            for name, watcher in watchers.items():
                with watcher():
                    rates[name].append(_rate())
        server.kill()
    bare = median(rates["bare"])
    for name, measured in rates.items():
        ratio = median(rate / base for rate, base in zip(measured, rates["bare"], strict=True))
        spread = f"{min(measured):,.0f} to {max(measured):,.0f}"
        yield Figure(f"{name}: connects", median(measured), "1/s", f"median of {_ROUNDS}, {spread}")
        if name != "bare":
            yield Figure(f"{name}: of bare", ratio, "", f"median of {_ROUNDS} ratios, each within its round")
    assert bare > 0


def _rate() -> float:
    command = ["taskset", "-c", "0", *storm("connect", "127.0.0.1", 7003, _CONNECTS)]
    return _CONNECTS / float(subprocess.run(command, check=True, capture_output=True).stdout)


@contextmanager
def _nobody() -> Iterator[None]:
    yield


@contextmanager
def _detector() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "DETECTOR_STATE_FOLDER": state, "DETECTOR_COLLECTOR_INTERVAL_SECONDS": "1"}
        command = [sys.executable, "-m", "detector"]
        subprocess.run([*command, "db", "upgrade"], check=True, env=environment, capture_output=True)
        with subprocess.Popen([*command, "collect"], env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            yield
            process.terminate()
            process.communicate()


@contextmanager
def _bpftrace() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lines"
        with (
            output.open("wb") as file,
            subprocess.Popen(["bpftrace", "-e", _PRINT_EACH], stdout=file, stderr=subprocess.DEVNULL) as process,
        ):
            # It says "Attaching 1 probe..." before it has; its first line of output comes when it has.
            deadline = time.monotonic() + 30
            while output.read_bytes().count(b"\n") < 2:
                assert time.monotonic() < deadline, "bpftrace did not start"
                subprocess.run(storm("connect", "127.0.0.1", 7003, 1), check=True, stdout=subprocess.DEVNULL)
            yield
            process.terminate()
