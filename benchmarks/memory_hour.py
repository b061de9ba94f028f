"""`detector run` at its usual interval: memory over time, CPU when idle and under load, and how soon it counts.

BENCH_MINUTES says how long (default 5); an hour shows what does not settle.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.memory import children, pss, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MINUTES = float(os.environ.get("BENCH_MINUTES", "5"))
_LOOK_SECONDS = 300.0
_PACE = 10_000
_PACED_SECONDS = 60.0
_PACED_PORTS = 100
_STARTS = 5
_START_SECONDS = 6.0
# Addresses of loopback that nothing else connects to; nothing listens there either.
_TARGET = "127.77.10.2"
_PACED_TARGET = "127.77.10.3"
_FIRST_PORT = 2000
_DETECTOR = [sys.executable, "-m", "detector"]
_TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Figure]:
    """First the starts, then the service for as long as was said, then the same with load."""
    yield from _starts()
    with _service() as roles:
        yield from _memory(roles, "at the start")
        started, before = time.monotonic(), _cpu_seconds(roles)
        end = started + 60 * _MINUTES
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            yield from _memory(roles, f"after {(time.monotonic() - started) / 60:.0f} min")
        for role, share in _shares(roles, before, time.monotonic() - started).items():
            yield Figure(f"{role}: CPU, idle", 100 * share, "% of a core", f"{_MINUTES:g} min, a snapshot each 10 s")
        started, before = time.monotonic(), _cpu_seconds(roles)
        rate = _connect_paced()
        share = _shares(roles, before, time.monotonic() - started)["collect"]
        yield Figure(f"collect: CPU at {rate:,.0f} connects/s", 100 * share, "% of a core", f"{_PACED_PORTS} keys")
        yield from _memory(roles, "after that load")


def _starts() -> Iterator[Figure]:
    """As a collector usually starts, and as it does when a kernel is booted for the first time."""
    with tempfile.TemporaryDirectory() as kept:
        # Compiles, for those to come.
        _first_counted(kept)
        for how, folder in (("", kept), (", compiling", "")):
            delays = sorted(_first_counted(folder) for _ in range(_STARTS))
            note = f"median of {_STARTS}, {delays[0]:.2f} to {delays[-1]:.2f}"
            yield Figure(f"collect: from start to the first counted connect{how}", median(delays), "s", note)


def _memory(roles: Mapping[str, int], when: str) -> Iterator[Figure]:
    for role in ("collect", "run"):
        yield Figure(f"{role}: memory {when}", pss(roles[role]), "MB PSS")


@contextmanager
def _service() -> Iterator[dict[str, int]]:
    """`detector run`, with its first snapshot stored; gives the processes of its roles."""
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "DETECTOR_STATE_FOLDER": state}
        output = Path(state) / "output"
        with output.open("wb") as file, subprocess.Popen([*_DETECTOR, "run"], env=environment, stdout=file) as service:
            try:
                while b"snapshot 1 " not in output.read_bytes():
                    assert service.poll() is None
                    time.sleep(0.1)
                yield {"run": service.pid} | {role_of(child): child for child in children(service.pid)}
            finally:
                service.terminate()


def _first_counted(kept: str) -> float:
    """Seconds from the start of `collect` to the first connect that is in the database afterwards.

    `kept`: the folder of compiled programs; empty: they are compiled.
    """
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "DETECTOR_STATE_FOLDER": state, "DETECTOR_COLLECTOR_CACHE_FOLDER": kept}
        subprocess.run([*_DETECTOR, "db", "upgrade"], env=environment, check=True, stdout=subprocess.DEVNULL)
        made: dict[int, float] = {}
        started = time.monotonic()
        with subprocess.Popen([*_DETECTOR, "collect"], env=environment, stdout=subprocess.DEVNULL) as collect:
            while (passed := time.monotonic() - started) < _START_SECONDS:
                port = _FIRST_PORT + len(made)
                made[port] = passed
                _connect(_TARGET, port)
                time.sleep(0.005)
            collect.terminate()
        with sqlite3.connect(Path(state) / "detector.db") as database:
            mapped = IPv6Address(f"::ffff:{_TARGET}").packed
            first = "SELECT min(remote_port) FROM connection_keys WHERE remote_address = ?"
            ((port,),) = database.execute(first, (mapped,))
        database.close()
        assert port is not None, f"nothing was counted in {_START_SECONDS} s"
        return made[port]


def _connect_paced() -> float:
    """Connects at an even pace; returns the connects per second that were reached."""
    started = time.monotonic()
    made = 0
    while (passed := time.monotonic() - started) < _PACED_SECONDS:
        while made < _PACE * passed:
            _connect(_PACED_TARGET, _FIRST_PORT + made % _PACED_PORTS)
            made += 1
        time.sleep(0.001)
    return made / _PACED_SECONDS


def _connect(address: str, port: int) -> None:
    with socket.socket() as client:
        client.connect_ex((address, port))


def _cpu_seconds(roles: Mapping[str, int]) -> dict[str, float]:
    seconds = {}
    for role, pid in roles.items():
        # After the name, which may hold anything: utime and stime are the 12th and 13th.
        numbers = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        seconds[role] = (int(numbers[11]) + int(numbers[12])) / _TICKS
    return seconds


def _shares(roles: Mapping[str, int], before: Mapping[str, float], seconds: float) -> dict[str, float]:
    return {role: (now - before[role]) / seconds for role, now in _cpu_seconds(roles).items()}
