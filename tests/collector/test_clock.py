"""Snapshots' times: they join, whatever happens to the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from detector.collector.clock import Clock, Reading, read_clocks

_START = datetime(2026, 1, 1, tzinfo=UTC)


def _spans(*changes: tuple[float, float, float]) -> list[tuple[float, float, float, float]]:
    """Start, end (in seconds since the first reading), step and suspension, for changes of (wall, passed, running)."""
    wall, passed, running = _START, 1000.0, 500.0
    readings = [Reading(wall, passed, running)]
    for by_wall, by_passed, by_running in changes:
        wall, passed, running = wall + timedelta(seconds=by_wall), passed + by_passed, running + by_running
        readings.append(Reading(wall, passed, running))
    clock = Clock(iter(readings).__next__)
    spans = (clock.span() for _ in changes)
    return [
        (
            (each.start - _START).total_seconds(),
            (each.end - _START).total_seconds(),
            each.stepped_seconds,
            each.suspended_seconds,
        )
        for each in spans
    ]


def test_spans_join_when_nothing_happens() -> None:
    """Small differences between the clocks are no steps."""
    assert _spans((10, 10, 10), (10.2, 10, 10)) == [(0, 10, 0, 0), (10, 20.2, 0, 0)]


def test_a_clock_that_is_set_is_told_by_how_much_and_the_span_keeps_its_true_length() -> None:
    """Forward and back."""
    assert _spans((3610, 10, 10), (-290, 10, 10)) == [(3600, 3610, 3600, 0), (3310, 3320, -300, 0)]


def test_a_suspended_machine_is_told_from_a_clock_that_was_set() -> None:
    """Both clocks that go on agree; the one that stands still tells how long."""
    assert _spans((610, 610, 10)) == [(0, 610, 0, 600)]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=20))
def test_a_span_always_has_a_length(changes: list[tuple[float, float, float]]) -> None:
    """Whatever the clocks do, a snapshot ends after it starts."""
    assert all(end > start for start, end, _, _ in _spans(*changes))


def test_the_real_clocks_go_on() -> None:
    """Two readings of this machine make a span that is short, with nothing strange in it."""
    clock = Clock(read_clocks)
    span = clock.span()
    assert timedelta(0) < span.end - span.start < timedelta(seconds=60)
    assert (span.stepped_seconds, span.suspended_seconds) == (0, 0)
