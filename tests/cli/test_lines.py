"""The line that `collect` says of each snapshot, and what `detect` says of thresholds."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from detector.cli.lines import snapshot_line
from detector.cli.run import DetectionReporter
from detector.domain import CaptureHealth, Learning, Losses, Snapshot, SnapshotRef, ThresholdMove
from detector.log import Format, Log
from detector.pipeline import Detected
from tests.builders import START, count

if TYPE_CHECKING:
    import pytest

_END = START + timedelta(seconds=10)
_REF = SnapshotRef(host_id=1, host="bastion-1", seq=42, start=START, end=_END)


def _line(snapshot: Snapshot) -> str:
    return re.sub(r"\d\d:\d\d:\d\d", "TIME", snapshot_line(_REF, snapshot))


def test_connects_and_flows_are_told_apart() -> None:
    """Flows have no outcome to speak of."""
    counts = (count(attempted=3, refused=2, established=1), count("10.0.0.9", protocol="udp", attempted=7))
    said = _line(Snapshot(host="bastion-1", start=START, end=_END, counts=counts))
    assert said == "TIME  snapshot 42  3 connects (1 established, 2 refused)  7 flows  2 addresses, 1 executable"


def test_everything_that_is_wrong_is_said() -> None:
    """What was lost, what has no destination, and how well capture went."""
    snapshot = Snapshot(
        host="bastion-1",
        start=START,
        end=_END,
        counts=(),
        losses=Losses(timed_out=5, folded=2000),
        health=CaptureHealth(
            self_test_passed=False, blind_since=START, late_seconds=3, clock_step_seconds=-60, suspended_seconds=7
        ),
    )
    assert _line(snapshot) == (
        "TIME  snapshot 42  0 connects  LOST: 5 timed out  FOLDED: 2,000 without destination, since there were too many"
        "  BLIND since TIME  LATE by 3 s  CLOCK SET by -60 s  suspended for 7 s"
    )


def test_a_threshold_that_has_moved_is_said_with_why(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for a person, fields for a program; of a snapshot that moved nothing there is none."""
    move = ThresholdMove(at=_END, before=2.2249, after=2.5952, observed=2.3454, correction=0.2498)
    learning = Learning(elapsed_seconds=90_000, required_seconds=86_400)
    for wanted in (Format.TEXT, Format.JSON):
        report = DetectionReporter(Log("detect", wanted))
        for moved in (None, move):
            report.detected(Detected(snapshot=_REF, observations=1, findings=0, learning=learning, moved=moved))
    line, entry = capsys.readouterr().out.splitlines()
    message = "bastion-1: connects are unusual from a surprise of 2.60 on, 2.22 before (hours: 2.35, alerts: +0.25)"
    assert re.sub(r"\d\d:\d\d:\d\d", "TIME", line) == f"TIME  {message}"
    said = json.loads(entry)
    assert (said["level"], said["event"], said["message"], said["host"]) == ("info", "threshold", message, "bastion-1")
    assert [said[name] for name in ("before", "after", "observed", "correction")] == [2.2249, 2.5952, 2.3454, 0.2498]
