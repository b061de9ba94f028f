"""Connects per second over loopback: with nobody watching, with detector, and with each of its peers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.watchers import PORT, WATCHERS, unaudited
from tests.system.conftest import storm
from tests.system.island import island
from tests.system.loads import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUNDS = 9
_SETTLE_SECONDS = 0.5
_TRAFFIC = Path(__file__).with_name("traffic.py")
# Connections that end in the usual way keep a local port for a minute, of some 28,000 to each address.
_ADDRESSES = 8
_ALL = "0.0.0.0"  # noqa: S104  of a network that nobody else can reach


@dataclass(frozen=True, slots=True)
class Shape:
    """A server, and a client on processor 0."""

    name: str
    connects: int
    server: list[str]
    client: list[str]
    server_processor: int


def _traffic(*arguments: str | int) -> list[str]:
    return [sys.executable, str(_TRAFFIC), *map(str, arguments)]


SHAPES = (
    Shape(
        "request and answer",
        20_000,
        _traffic("answer", PORT + 1),
        _traffic("request", "127.0.0.1", _ADDRESSES, PORT + 1, 20_000 // _ADDRESSES),
        server_processor=1,
    ),
    Shape(
        "connect and close",
        40_000,
        storm("serve", _ALL, PORT),
        _traffic("visit", "127.0.0.1", _ADDRESSES, PORT, 40_000 // _ADDRESSES),
        server_processor=1,
    ),
    # Resets each connection, and no other processor has a part in it: nothing but connecting takes time.
    Shape(
        "tightest loop",
        40_000,
        storm("serve", "127.0.0.1", PORT + 2),
        storm("connect", "127.0.0.1", PORT + 2, 40_000),
        server_processor=0,
    ),
)


def measure() -> Iterator[Figure]:
    """All take turns in each round, each time first another one, in a network of its own that nothing is left in."""
    rates: dict[tuple[str, str], list[float]] = {(shape.name, name): [] for shape in SHAPES for name in WATCHERS}
    with tempfile.TemporaryDirectory() as folder, unaudited():
        for turn in range(_ROUNDS):
            names = list(WATCHERS)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                state = Path(tempfile.mkdtemp(dir=folder))
                for shape, rate in _watched(name, state).items():
                    rates[shape, name].append(rate)
    for (shape, name), measured in rates.items():
        spread = f"median of {_ROUNDS}, {min(measured):,.0f} to {max(measured):,.0f}"
        yield Figure(f"{shape}, {name}: connects", median(measured), "1/s", spread)
    for (shape, name), measured in rates.items():
        if name != "bare":
            ratios = [rate / base for rate, base in zip(measured, rates[shape, "bare"], strict=True)]
            spread = f"median of {_ROUNDS} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
            yield Figure(f"{shape}, {name}: of bare", median(ratios), "", spread)


def _watched(name: str, folder: Path) -> dict[str, float]:
    """Connects per second of each shape while this one watches."""
    with ExitStack() as running:
        inside = running.enter_context(island("bench"))
        # To wake a processor for each connect would take longer than anything that is measured, and whoever keeps it
        # awake would look like a gain.
        for processor in (0, 1):
            running.enter_context(running_server(_traffic("spin", processor)))
        for shape in SHAPES:
            running.enter_context(running_server([*inside, *_on(shape.server_processor), *shape.server]))
        running.enter_context(WATCHERS[name](inside, folder))
        time.sleep(_SETTLE_SECONDS)
        return {shape.name: _rate(shape, inside) for shape in SHAPES}


def _on(processor: int) -> list[str]:
    return ["taskset", "-c", str(processor)]


def _rate(shape: Shape, inside: list[str]) -> float:
    client = subprocess.run([*inside, *_on(0), *shape.client], check=True, capture_output=True)
    return shape.connects / float(client.stdout)
