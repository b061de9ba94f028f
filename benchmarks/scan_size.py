"""How large an SQLite file gets that may not be larger than it is told, under a scan without end, and what that takes.

BENCH_SNAPSHOTS (30) snapshots of 30,000 connects to addresses that were never seen before, in a file of 200 MB at most.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from statistics import median
from threading import Event
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from detector import pipeline
from detector.config import Settings
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.service.keeping import Keeping, kept_from
from detector.store import sizes
from detector.store.engine import open_store
from detector.store.migrating import upgrade
from tests.builders import Lines, Recorder, count

if TYPE_CHECKING:
    from collections.abc import Iterator

_SNAPSHOTS = int(os.environ.get("BENCH_SNAPSHOTS", "30"))
_KEYS = 30_000
_MOST_BYTES = 200_000_000


def measure() -> Iterator[Figure]:
    """As the service does it: written, detected, and looked after, one snapshot after another."""
    settings, said = Settings(), Lines()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/detector.db")
        upgrade(engine)
        kept = replace(kept_from(settings, engine), most_bytes=_MOST_BYTES)
        keeping = Keeping(engine, kept, Event(), said)
        stages = build_stages(settings, load_rules(settings.rule_folders).ruleset)
        recorder = Recorder(engine, interval=timedelta(seconds=10), unpacked=False)
        largest, took = 0, []
        for number in range(_SNAPSHOTS):
            places = range(number * _KEYS, (number + 1) * _KEYS)
            counts = [count(f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", 22 + (i >> 24)) for i in places]
            moments = [time.perf_counter()]
            recorder.snapshot(*counts)
            moments.append(time.perf_counter())
            for host_id in pipeline.hosts_behind(engine):
                pipeline.detect_next(engine, host_id, stages)
            moments.append(time.perf_counter())
            keeping.round(recorder.now)
            moments.append(time.perf_counter())
            took.append([after - before for before, after in pairwise(moments)])
            largest = max(largest, sizes.measure(engine).on_disk)
        engine.dispose()
    note = f"{_SNAPSHOTS} snapshots of {_KEYS:,} new keys, {_MOST_BYTES / 1e6:.0f} MB at most"
    yield Figure("largest", largest / 1e6, "MB", note)
    for name, each in zip(("written", "detected", "kept small"), zip(*took, strict=True), strict=True):
        yield Figure(f"a snapshot {name}", median(each), "s", f"median; longest {max(each):.1f} s")
