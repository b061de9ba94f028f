"""Snapshots that wait for the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from detector.collector.backlog import Backlog
from detector.domain import CaptureHealth, Losses, Snapshot
from tests.builders import START, count

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS = ("attempted", "established", "refused", "timed_out", "failed")


def _snapshot(number: int, sizes: Iterable[tuple[bool, int]]) -> Snapshot:
    start = START + timedelta(seconds=10 * number)
    counts = [
        count(port=1000 + index, direction="inbound", attempted=n, established=n)
        if inbound
        else count(port=1000 + index, attempted=n, refused=n)
        for index, (inbound, n) in enumerate(sizes)
    ]
    return Snapshot(host="h", start=start, end=start + timedelta(seconds=10), counts=tuple(counts))


@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=6), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_what_comes_out_and_what_is_said_to_be_lost_is_what_went_in(
    sizes: list[list[tuple[bool, int]]], room: int
) -> None:
    """Counts and losses together are conserved, of each kind; the time covered has no gap."""
    backlog = Backlog(most_counts=room)
    snapshots = [_snapshot(number, each) for number, each in enumerate(sizes)]
    for snapshot in snapshots:
        backlog.add(snapshot)
    out = []
    while (oldest := backlog.oldest()) is not None:
        out.append(oldest)
        backlog.written()
    lost = sum((snapshot.losses for snapshot in out), Losses())
    for kind in _KINDS:
        before = sum(getattr(each, kind) for snapshot in snapshots for each in snapshot.counts)
        after = sum(getattr(each, kind) for snapshot in out for each in snapshot.counts)
        inbound = lost.inbound if kind in {"attempted", "established"} else 0
        assert after + getattr(lost, kind) + inbound == before
    assert out[0].start == START
    assert out[-1] is snapshots[-1] or len(out) == 1
    assert sum(len(snapshot.counts) for snapshot in out) <= max(room, len(snapshots[-1].counts))


def test_within_its_bound_nothing_is_touched() -> None:
    """The same snapshots, in the same order."""
    backlog = Backlog()
    snapshots = [_snapshot(number, [(False, 1)]) for number in range(5)]
    for snapshot in snapshots:
        backlog.add(snapshot)
    for snapshot in snapshots:
        assert backlog.oldest() is snapshot
        backlog.written()
    assert len(backlog) == 0


def test_what_was_wrong_with_a_snapshot_that_was_given_up_is_said_by_the_next() -> None:
    """Blind in one of them is blind, since the earlier; what passed adds up."""
    backlog = Backlog(most_counts=1)
    bad = CaptureHealth(self_test_passed=False, blind_since=START, late_seconds=3, clock_step_seconds=-60)
    good = CaptureHealth(self_test_passed=True, late_seconds=1, clock_step_seconds=20, suspended_seconds=5)
    backlog.add(replace(_snapshot(0, [(False, 1)]), health=bad))
    backlog.add(replace(_snapshot(1, [(False, 1)]), health=good))
    oldest = backlog.oldest()
    assert oldest is not None
    assert oldest.health == CaptureHealth(
        self_test_passed=False, blind_since=START, late_seconds=3, clock_step_seconds=-40, suspended_seconds=5
    )
