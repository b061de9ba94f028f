"""A scan, which makes tens of thousands of keys in every snapshot, does not make the database larger than it may be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest

from detector import pipeline
from detector.config import Settings
from detector.domain import Losses
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.service.keeping import Keeping, kept_from
from detector.store import sizes
from detector.store.engine import reading
from detector.store.health import find_incomplete
from tests.builders import Lines, Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

_KEYS, _SNAPSHOTS = 600, 20
_MOST_BYTES = {"sqlite": 4_000_000, "postgresql": 14_000_000}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "detected",
    [pytest.param(True, id="detected", marks=pytest.mark.thorough), pytest.param(False, id="detection lags")],
)
def test_a_scan_stays_within_the_size(engine: Engine, detected: bool) -> None:
    """New destinations without end: the database stays as small as it is to be, whether detection keeps up or not, and
    what had to go unseen is told by the snapshots that are left.
    """
    most = _MOST_BYTES[engine.dialect.name] // (1 if detected else 2)
    said = Lines()
    kept = replace(kept_from(Settings(), engine), most_bytes=most)
    keeping = Keeping(engine, kept, Event(), said)
    stages = build_stages(Settings(), load_rules(Settings().rule_folders).ruleset)
    # Long enough for what is remembered to become old.
    recorder = Recorder(engine, interval=timedelta(minutes=1), unpacked=False)
    largest = 0
    for number in range(_SNAPSHOTS):
        first = number * _KEYS
        recorder.snapshot(*(count(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 22) for i in range(first, first + _KEYS)))
        if detected:
            for host_id in pipeline.hosts_behind(engine):
                while pipeline.detect_next(engine, host_id, stages):
                    pass
        keeping.round(recorder.now)
        largest = max(largest, sizes.measure(engine).on_disk)

    assert largest <= most
    assert any("the oldest goes" in line for line in said.lines)
    with reading(engine) as connection:
        page = find_incomplete(connection)
        lost = sum((each.losses for each in page.found), Losses())
    assert lost.snapshots == 0 if detected else lost.snapshots > 0
