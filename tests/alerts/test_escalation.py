"""Alerts that nobody has acknowledged in time are told to somebody else, once."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import escalation
from detector.config_escalations import Escalation
from detector.domain import Severity
from detector.matchers import parse
from detector.service.escalating import Escalating
from detector.store import alert_silences, answers
from detector.store.engine import reading, writing
from detector.store.threads import timeline
from tests.alerts.hosts import Host, finding, scan
from tests.builders import START

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import Alert

PAGER = Escalation(after_seconds=900, channels=("pager",), severity=(Severity.HIGH,))
BOSS = Escalation(after_seconds=3600, channels=("boss", "pager"), severity=(Severity.HIGH, Severity.CRITICAL))
STEPS = (BOSS, PAGER)
FIRST = ("pager", "not acknowledged within 15 min")
SECOND = [("boss", "not acknowledged within 1 h"), ("pager", "not acknowledged within 1 h")]
NOW = START + timedelta(days=1)


def _found(host: Host, port: int = 1, severity: Severity = Severity.HIGH) -> Alert:
    ref, rows = host.snapshot(*scan(port, port))
    host.record(ref, finding(ref, rows, severity=severity))
    return host.alerts()[0]


def _at(engine: Engine, minutes: float) -> list[tuple[str, str]]:
    """What is told so many minutes after the first look, by a detector that has just been started."""
    with writing(engine) as connection:
        told = escalation.advance(connection, STEPS, NOW + timedelta(minutes=minutes))
    return [(step.channel, step.reason) for ready in told.values() for step in ready]


def _escalated(host: Host, alert: Alert) -> list[tuple[str, str]]:
    return [each for each in host.sent(alert) if each[1].startswith("not ack")]


def test_each_step_is_told_once(engine: Engine) -> None:
    """After its time and not before, to its channels, with a named reason, once, however often anybody looks."""
    host = Host(engine)
    alert = _found(host)
    assert [_at(engine, minutes) for minutes in (0, 14.9, 15, 15, 59)] == [[], [], [FIRST], [], []]
    assert [_at(engine, minutes) for minutes in (60, 60, 6000)] == [SECOND, [], []]
    assert _escalated(host, alert) == [FIRST, *SECOND]
    with reading(engine) as connection:
        story = [(each.kind, each.said) for each in timeline(connection, [alert])]
    assert story[1:] == [("escalated", f"to {channel}: {reason}") for channel, reason in (FIRST, *SECOND)]


def test_what_was_missed_is_told_at_once(engine: Engine) -> None:
    """A detector that was away tells all that is due when it is back."""
    _found(Host(engine))
    assert [_at(engine, minutes) for minutes in (0, 100)] == [[], [FIRST, *SECOND]]


@pytest.mark.parametrize("answer", [answers.acknowledge, answers.resolve])
def test_an_answer_ends_it(engine: Engine, answer: object) -> None:
    """Who acknowledges or resolves an alert has nobody else told."""
    host = Host(engine)
    alert = _found(host)
    _at(engine, 0)
    with writing(engine) as connection:
        answer(connection, alert.alert_id, author="ben", said="", now=NOW)  # type: ignore[operator]
    assert [_at(engine, minutes) for minutes in (15, 6000)] == [[], []]


def test_severity_chooses_the_steps(engine: Engine) -> None:
    """An alert that becomes more severe waits anew, whoever had acknowledged what it was before."""
    host = Host(engine)
    alert = _found(host, severity=Severity.MEDIUM)
    assert [_at(engine, minutes) for minutes in (0, 6000)] == [[], []]
    _found(host, 2, Severity.HIGH)
    _at(engine, 6000)
    with writing(engine) as connection:
        answers.acknowledge(connection, alert.alert_id, author="ben", said="", now=NOW)
    assert _at(engine, 6020) == []
    _found(host, 3, Severity.CRITICAL)
    assert [_at(engine, minutes) for minutes in (6020, 6079, 6080)] == [[], [], SECOND]


def test_a_silence_holds_it_back(engine: Engine) -> None:
    """What a silence mutes is told to nobody; what still goes on when it ends is told."""
    host = Host(engine)
    _found(host)
    _at(engine, 0)
    with writing(engine) as connection:
        alert_silences.add(
            connection,
            [parse("user=alice")],
            starts_at=START,
            ends_at=NOW + timedelta(minutes=30),
            author="ben",
            reason="planned",
            now=START,
        )
    assert [_at(engine, minutes) for minutes in (15, 29, 31)] == [[], [], [FIRST]]


def test_what_nobody_was_told_is_not_escalated(engine: Engine) -> None:
    """An alert that a silence has kept quiet from its beginning does not wait for an answer."""
    host = Host(engine)
    with writing(engine) as connection:
        alert_silences.add(
            connection,
            [parse("user=alice")],
            starts_at=START,
            ends_at=NOW,
            author="ben",
            reason="planned",
            now=START,
        )
    _found(host)
    assert [_at(engine, minutes) for minutes in (0, 6000)] == [[], []]


def test_two_detectors_tell_it_once(postgres_engine: Engine) -> None:
    """Of several that look at the same moment one writes it."""
    host = Host(postgres_engine)
    alert = _found(host)
    _at(postgres_engine, 0)
    threads = [Thread(target=_at, args=(postgres_engine, 15)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _escalated(host, alert) == [FIRST]


def test_the_detector_looks_by_itself(sqlite_engine: Engine) -> None:
    """A look tells what is due; where nothing is configured it does not even look."""
    host = Host(sqlite_engine)
    alert = _found(host)
    now = [NOW]
    for minutes in (0, 15):
        now[0] = NOW + timedelta(minutes=minutes)
        Escalating(sqlite_engine, STEPS, clock=lambda: now[0]).look()
    assert _escalated(host, alert) == [FIRST]
    with reading(sqlite_engine) as connection:
        ahead = escalation.upcoming(connection, STEPS, alert.alert_id)
    assert [(each.channel, each.at) for each in ahead] == [
        (name, NOW + timedelta(hours=1)) for name in ("boss", "pager")
    ]
    Escalating(sqlite_engine, ()).look()


@given(
    waits=st.lists(st.integers(1, 100), min_size=1, max_size=5),
    looks=st.lists(st.integers(0, 200), max_size=20),
    severity=st.sampled_from(Severity),
)
def test_each_step_is_due_once_in_whatever_moments_anybody_looks(
    waits: list[int], looks: list[int], severity: Severity
) -> None:
    """Looking at any moments tells each step whose time has come exactly once, and none before its time."""
    configured = [
        Escalation(after_seconds=wait, channels=(f"c{number}",), severity=(Severity.HIGH, Severity.CRITICAL))
        for number, wait in enumerate(waits)
    ]
    told: list[tuple[str, str]] = []
    for at in sorted(looks):
        now = START + timedelta(seconds=at)
        ready = escalation.due(escalation.steps(configured, severity, START, told), START, now)
        assert all(step.at <= now for step in ready)
        told += [(step.channel, step.reason) for step in ready]
    last = max(looks, default=-1) if severity in (Severity.HIGH, Severity.CRITICAL) else -1
    assert sorted(told) == sorted(
        (each.channels[0], escalation.reason_of(each)) for each in configured if each.after_seconds <= last
    )


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    """A time is over as soon as it is that far away, before or behind."""
    before = escalation.steps([PAGER], Severity.HIGH, START)
    moments: list[datetime] = [START + timedelta(minutes=minutes) for minutes in (-15, -14, 0, 14, 15)]
    assert [len(escalation.due(before, START, now)) for now in moments] == [1, 0, 0, 0, 1]
