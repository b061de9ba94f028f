"""Connects per second over loopback: with nobody watching, with detector, and with each of its peers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.watchers import PORT, WATCHERS, unaudited
from tests.system.conftest import storm
from tests.system.island import island
from tests.system.loads import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUNDS = 9
_SETTLE_SECONDS = 0.2
_TRAFFIC = Path(__file__).with_name("traffic.py")
# Connections that end in the usual way keep a local port for a minute, of some 28,000 to each address.
_ADDRESSES = 8


def _traffic(*arguments: str | int) -> list[str]:
    return [sys.executable, str(_TRAFFIC), *map(str, arguments)]


def _visits(verb: str, port: int, connects: int) -> Callable[[int], list[str]]:
    return lambda block: _traffic(verb, f"127.0.{block}.1", _ADDRESSES, port, connects // _ADDRESSES)


@dataclass(frozen=True, slots=True)
class Shape:
    """A server, and a client on processor 0."""

    name: str
    connects: int
    server: list[str]
    server_processor: int
    client: Callable[[int], list[str]]
    """Its command line; for each number that it is given, it connects to addresses of their own."""


SHAPES = (
    Shape(
        "request and answer",
        10_000,
        server=_traffic("answer", PORT + 1),
        server_processor=1,
        client=_visits("request", PORT + 1, 10_000),
    ),
    # A processor for the client, and another one for the server.
    Shape(
        "connect and close",
        24_000,
        server=_traffic("accept", PORT),
        server_processor=1,
        client=_visits("visit", PORT, 24_000),
    ),
    # Resets each connection, which leaves nothing to do after it: nothing but connecting takes time.
    Shape(
        "tightest loop",
        24_000,
        server=storm("serve", "127.0.0.1", PORT + 2),
        server_processor=0,
        client=lambda _: storm("connect", "127.0.0.1", PORT + 2, 24_000),
    ),
)


def measure() -> Iterator[Figure]:
    """The watchers take turns. Each is compared with nobody watching right before and right after it, with the same
    servers, in a network of its own that nothing is left in.
    """
    bare: dict[str, list[float]] = {shape.name: [] for shape in SHAPES}
    ratios: dict[tuple[str, str], list[float]] = {(shape.name, name): [] for shape in SHAPES for name in WATCHERS}
    with tempfile.TemporaryDirectory() as folder, unaudited():
        for _ in range(_ROUNDS):
            for name in WATCHERS:
                before, watched, after = _rates(name, Path(tempfile.mkdtemp(dir=folder)))
                for shape in bare:
                    bare[shape] += [before[shape], after[shape]]
                    ratios[shape, name].append(watched[shape] / fmean((before[shape], after[shape])))
    for shape, measured in bare.items():
        spread = f"median of {len(measured)}, {min(measured):,.0f} to {max(measured):,.0f}"
        yield Figure(f"{shape}: connects, bare", median(measured), "1/s", spread)
    for (shape, name), measured in ratios.items():
        spread = f"median of {_ROUNDS}, {min(measured):.2f} to {max(measured):.2f}"
        yield Figure(f"{shape}: with {name}, of bare", median(measured), "", spread)


def _rates(name: str, folder: Path) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Connects per second of each shape: before this watcher, with it, and after it."""
    with ExitStack() as running:
        inside = running.enter_context(island("bench"))
        # To wake a processor for each connect would take longer than anything that is measured, and whoever keeps it
        # awake would look like a gain.
        for processor in (0, 1):
            running.enter_context(running_server(_traffic("spin", processor)))
        for shape in SHAPES:
            running.enter_context(running_server([*inside, *_on(shape.server_processor), *shape.server]))
        before = _connect(inside, 1)
        with WATCHERS[name](inside, folder):
            watched = _connect(inside, 2)
        return before, watched, _connect(inside, 3)


def _connect(inside: list[str], block: int) -> dict[str, float]:
    rates = {}
    for shape in SHAPES:
        # What the shape before has left over is done by then.
        time.sleep(_SETTLE_SECONDS)
        rates[shape.name] = shape.connects / _seconds([*inside, *_on(0), *shape.client(block)])
    return rates


def _on(processor: int) -> list[str]:
    return ["taskset", "-c", str(processor)]


def _seconds(command: list[str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True).stdout)
