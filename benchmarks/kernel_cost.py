"""What each event costs in the kernel, by the kernel's own statistics of the programs, with everything attached.

The statistics read the clock twice for each run of a program, and count a part of that: what an empty program is said
to take is measured beside, and is not the programs' own. A change of state is shown to two programs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.nothing import attach_nothing
from detector.bpf import syscall
from detector.bpf.capture import Capture
from tests.system.conftest import storm
from tests.system.island import island
from tests.system.loads import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
_TRAFFIC = Path(__file__).with_name("traffic.py")
_ROUNDS = 5
_COUNT = 20_000
_CALLS = 2_000_000
_PORT = 7003


@dataclass(frozen=True, slots=True)
class Load:
    """Something that causes events of one kind."""

    name: str
    per: str
    command: list[str]
    programs: tuple[str, ...]
    """Those that look at each such event; the first is run once for each."""
    typed: bytes = b""


_CHANGES = ("count_state_change", "rescue_state_change")
_SENDS = ("count_sent", "count_send_call")
_RECEIVES = ("keep_received", "begin_receive", "end_receive")


def _traffic(*arguments: str | int) -> list[str]:
    return [sys.executable, str(_TRAFFIC), *map(str, arguments)]


_LOADS = (
    Load("accepted, one key", "state change", storm("connect", "127.0.0.1", _PORT, _COUNT), _CHANGES),
    Load("refused, one key", "state change", storm("connect", "127.0.0.1", 9, _COUNT), _CHANGES),
    Load("refused, a new key each", "state change", storm("scan", "127.0.0.1", 8000, _COUNT), _CHANGES),
    Load("as before", "UDP send", storm("send", "127.0.0.1", 1, 9, 1), _SENDS, b"%d\n" % _COUNT),
    Load("a new socket each", "UDP send", storm("strew", "127.0.0.1", 9, _COUNT), _SENDS),
    Load("a new destination each", "UDP send", storm("send", "127.1.0.0", _COUNT, 9, 1), _SENDS, b"1\n"),
    Load("not looked into", "TCP send", _traffic("talk", _COUNT), _SENDS),
    Load("not looked into", "TCP receive", _traffic("talk", _COUNT), _RECEIVES),
    Load("", "program started", _traffic("start", 1000), ("number_executable",)),
)


def measure() -> Iterator[Figure]:
    """Means of many events; of several rounds the median, since whatever interrupts a program is counted with it."""
    others = []
    with (
        _statistics(),
        _empty_program() as empty,
        Capture(map_entries=65_536) as capture,
        island("bench") as inside,
        serving(inside, "127.0.0.1", _PORT),
    ):
        rounds = [[_mean(capture, inside, load) for load in _LOADS] for _ in range(_ROUNDS)]
        nanoseconds, runs, _ = syscall.program_statistics(empty)
    yield Figure("of each program run, the measuring itself", nanoseconds / runs, "ns", "an empty program")
    for load, measured in zip(_LOADS, zip(*rounds, strict=True), strict=True):
        spread = f"median of {_ROUNDS}, {min(measured):.0f} to {max(measured):.0f}"
        yield Figure(f"per {load.per}{load.name and ', '}{load.name}", median(measured), "ns", spread)
    for _ in range(_ROUNDS):
        bare = _other_call()
        with Capture(map_entries=65_536):
            others.append(_other_call() - bare)
    spread = f"median of {_ROUNDS}, {min(others):.0f} to {max(others):.0f}: of the program's own time"
    yield Figure("per system call of any other kind", median(others), "ns", spread)


def _other_call() -> float:
    done = subprocess.run(_traffic("call", _CALLS), check=True, capture_output=True)
    return float(done.stdout) * 1e9 / _CALLS


@contextmanager
def _empty_program() -> Iterator[int]:
    """A program that does nothing, at each change of a socket's state; gives its descriptor."""
    program, attached = attach_nothing()
    try:
        yield program
    finally:
        os.close(attached)
        os.close(program)


@contextmanager
def _statistics() -> Iterator[None]:
    before = _STATISTICS.read_text(encoding="ascii")
    _STATISTICS.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        _STATISTICS.write_text(before, encoding="ascii")


def _mean(capture: Capture, inside: list[str], load: Load) -> float:
    """Nanoseconds for each event, in all programs that look at it."""
    capture.drain()
    before = capture.program_statistics()
    subprocess.run([*inside, *load.command], input=load.typed, check=True, stdout=subprocess.DEVNULL)
    after = capture.program_statistics()
    programs = [name for name in load.programs if name in after]
    nanoseconds = sum(after[name][0] - before[name][0] for name in programs)
    return nanoseconds / (after[programs[0]][1] - before[programs[0]][1])
