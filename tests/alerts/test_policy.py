"""What becomes of findings and alerts, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.policy import Before, Decision, Timing, continues, decide, is_over
from detector.domain import AlertState, Severity
from tests.builders import START

_TIMING = Timing(repeat_interval=timedelta(hours=4), resolve_after=timedelta(minutes=15))
_TOLD = Before(state=AlertState.OPEN, severity=Severity.LOW, told_at=START, told_magnitude=5)
_RESOLVED = replace(_TOLD, state=AlertState.RESOLVED)

_SEVERITIES = st.sampled_from(Severity)
_MOMENTS = st.integers(-(10**6), 10**6).map(lambda seconds: START + timedelta(seconds=seconds))
_SPANS = st.sampled_from([timedelta(0), timedelta(seconds=30), timedelta(hours=4)])
_TIMINGS = st.builds(Timing, group_wait=_SPANS, repeat_interval=_SPANS)
_BEFORE = st.none() | st.builds(
    Before,
    state=st.sampled_from(AlertState),
    severity=_SEVERITIES,
    told_at=st.none() | _MOMENTS,
    told_magnitude=st.integers(0, 10**6),
    acknowledged=st.booleans(),
    resolved_by=st.sampled_from([None, "alice"]),
)


@pytest.mark.parametrize(("after", "same"), [(0, True), (60, True), (61, False), (-30, True), (-3600, False)])
def test_the_cooldown_runs_from_the_last_finding(after: int, same: bool) -> None:
    """Either way: a clock that was ahead does not make what comes after it was put right part of the alert."""
    assert continues(START, now=START + timedelta(seconds=after), cooldown=timedelta(seconds=60)) is same


@pytest.mark.parametrize(
    ("before", "severity", "magnitude", "after", "decision"),
    [
        (None, Severity.LOW, 5, 0, Decision.OPENED),
        (_TOLD, Severity.LOW, 6, 10, Decision.GROUPED),
        (_TOLD, Severity.LOW, 49, 10, Decision.GROUPED),
        (_TOLD, Severity.LOW, 50, 10, Decision.GROWN),
        (replace(_TOLD, told_magnitude=999), Severity.LOW, 9_990, 10, Decision.GROWN),
        (replace(_TOLD, told_magnitude=1_000), Severity.LOW, 999_999, 10, Decision.GROUPED),
        (replace(_TOLD, told_magnitude=1_000), Severity.LOW, 1_000_000, 10, Decision.GROWN_VASTLY),
        (replace(_TOLD, told_magnitude=0), Severity.LOW, 9, 10, Decision.GROUPED),
        (replace(_TOLD, told_magnitude=0), Severity.LOW, 10, 10, Decision.GROWN),
        (_TOLD, Severity.MEDIUM, 6, 10, Decision.RAISED),
        (_TOLD, Severity.CRITICAL, 500, 10, Decision.RAISED),
        (replace(_TOLD, severity=Severity.HIGH), Severity.LOW, 6, 10, Decision.GROUPED),
        (_TOLD, Severity.LOW, 6, 4 * 3600, Decision.REPEATED),
        (_TOLD, Severity.LOW, 6, -4 * 3600, Decision.REPEATED),
        (replace(_TOLD, acknowledged=True), Severity.LOW, 6, 4 * 3600, Decision.ACKNOWLEDGED),
        (replace(_TOLD, acknowledged=True), Severity.LOW, 50, 10, Decision.GROWN),
        (replace(_TOLD, acknowledged=True), Severity.HIGH, 6, 10, Decision.RAISED),
        (replace(_TOLD, told_at=None), Severity.LOW, 6, 10, Decision.OPENED),
        (replace(_TOLD, state=AlertState.WAITING, told_at=None), Severity.LOW, 500, 10, Decision.WAITING),
        (_RESOLVED, Severity.LOW, 6, 1800, Decision.COOLING),
        (_RESOLVED, Severity.LOW, 6, 4 * 3600, Decision.REOPENED),
        (_RESOLVED, Severity.LOW, 50, 1800, Decision.GROWN),
        (replace(_RESOLVED, acknowledged=True), Severity.LOW, 6, 1800, Decision.ACKNOWLEDGED),
        (replace(_RESOLVED, resolved_by="alice"), Severity.LOW, 6, 10, Decision.REOPENED),
        (replace(_RESOLVED, resolved_by="alice", acknowledged=True), Severity.LOW, 6, 10, Decision.REOPENED),
    ],
)
def test_each_decision_has_its_reason(
    before: Before | None, severity: Severity, magnitude: int, after: int, decision: Decision
) -> None:
    """What is new, worse, much larger, back, or going on for long is told; the rest is not, and says why."""
    now = START + timedelta(seconds=after)
    assert decide(before, severity=severity, magnitude=magnitude, now=now, timing=_TIMING) is decision


def test_without_a_repeat_interval_nothing_is_repeated() -> None:
    """Zero is never, however long it goes on."""
    now, never = START + timedelta(days=30), replace(_TIMING, repeat_interval=timedelta(0))
    assert decide(_TOLD, severity=Severity.LOW, magnitude=6, now=now, timing=never) is Decision.GROUPED


def test_a_new_alert_waits_when_it_is_told_to() -> None:
    """With a group wait it is not told at once."""
    timing = replace(_TIMING, group_wait=timedelta(seconds=30))
    assert decide(None, severity=Severity.LOW, magnitude=6, now=START, timing=timing) is Decision.WAITING


@given(before=_BEFORE, severity=_SEVERITIES, magnitude=st.integers(0, 10**7), now=_MOMENTS, timing=_TIMINGS)
def test_no_finding_is_without_a_reason(
    before: Before | None, severity: Severity, magnitude: int, now: datetime, timing: Timing
) -> None:
    """Whatever the alert was and whatever comes: one reason, the same each time; and what waits is not told."""
    decision = decide(before, severity=severity, magnitude=magnitude, now=now, timing=timing)
    assert decision is decide(before, severity=severity, magnitude=magnitude, now=now, timing=timing)
    assert decision.value
    if before is not None and before.state is AlertState.WAITING:
        assert not decision.sends
    if before is not None and before.acknowledged:
        assert decision is not Decision.REPEATED


@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 10**6)), min_size=1, max_size=200))
def test_a_growing_incident_is_told_seldom(steps: list[tuple[int, int]]) -> None:
    """However an incident grows, it is told once for each power of ten below some thousands, then for each power of a
    thousand, and once for each repeat interval.
    """
    before: Before | None = None
    now, magnitude, messages = START, 1, 0
    for seconds, more in [(0, 0), *steps]:
        now, magnitude = now + timedelta(seconds=seconds), magnitude + more
        decision = decide(before, severity=Severity.LOW, magnitude=magnitude, now=now, timing=_TIMING)
        if decision.sends:
            messages += 1
            before = replace(_TOLD, told_at=now, told_magnitude=magnitude)
    assert (
        messages <= 2 + min(len(str(magnitude)), 3 + len(str(magnitude)) / 3) + (now - START) / _TIMING.repeat_interval
    )


@given(since=_MOMENTS, now=_MOMENTS, wait=_SPANS)
def test_a_wait_ends_on_a_clock_that_is_set(since: datetime, now: datetime, wait: timedelta) -> None:
    """A wait is over as soon as the clock is so far away from its beginning, ahead or behind: none lasts forever."""
    assert is_over(since, now=now, wait=wait) is (abs((now - since).total_seconds()) >= wait.total_seconds())


@given(resolve_after=_SPANS, cooldown=_SPANS)
def test_an_alert_is_over_before_the_next_one_opens(resolve_after: timedelta, cooldown: timedelta) -> None:
    """What comes after the cooldown is another alert, so that this one is resolved by then."""
    quiet = Timing(resolve_after=resolve_after).quiet(cooldown)
    assert quiet <= cooldown
    assert quiet <= resolve_after
