"""A million connects of eight processes, with a snapshot stored every 100 ms: each must be counted, under its key."""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from detector.store.engine import open_store
from detector.store.migrating import upgrade
from tests.system import loads
from tests.system.island import island

if TYPE_CHECKING:
    from collections.abc import Iterator

_EACH = 125_000


def measure() -> Iterator[Figure]:
    """Connects that were made and those of them that are stored under another key or outcome, or not at all."""
    clients = loads.eight_clients(_EACH)
    with (
        tempfile.TemporaryDirectory() as folder,
        Capture(map_entries=65_536) as capture,
        LiveCollector(capture, "bastion-1") as live,
        island("bench") as inside,
    ):
        engine = open_store(f"sqlite:///{folder}/detector.db")
        upgrade(engine)
        started = time.perf_counter()
        taken = loads.run_and_store(engine, live, clients, inside)
        seconds = time.perf_counter() - started
        expected, stored, lost = loads.expected(clients), loads.stored(engine), loads.stored_losses(engine)
        engine.dispose()
    made = sum(counts["attempted"] for (direction, _, _), counts in expected.items() if direction == "outbound")
    wrong = sum(_difference(expected.get(key, {}), stored.get(key, {})) for key in expected.keys() | stored.keys())
    note = f"{len(clients)} processes, {len(expected):,} keys, {taken} snapshots in {seconds:.0f} s"
    yield Figure("connects made", made, "", note)
    yield Figure("attempts and outcomes stored wrongly, of both ends", wrong, "", "by key and outcome")
    yield Figure(
        "said to be lost", sum(lost.values()), "", ", ".join(f"{name} {count}" for name, count in lost.items())
    )


def _difference(one: loads.Counts, other: loads.Counts) -> int:
    return sum(abs(one.get(name, 0) - other.get(name, 0)) for name in one.keys() | other.keys())
