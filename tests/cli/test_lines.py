"""The line that `collect` says of each snapshot."""

from __future__ import annotations

import re
from datetime import timedelta

from detector.cli.lines import snapshot_line
from detector.domain import CaptureHealth, Losses, Snapshot, SnapshotRef
from tests.builders import START, count

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
