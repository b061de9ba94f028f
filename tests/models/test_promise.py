"""The threshold keeps what was promised."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from detector import shipped
from detector.config import Models
from detector.domain import Learning, SnapshotRef, Verdict
from detector.models import moves, promise, threshold
from detector.models.judgement import Moment
from detector.models.scorer import HostScorer
from detector.models.week import Week
from detector.store import feedback
from detector.store.engine import writing
from detector.store.snapshots import host_number
from detector.store.tables import alerts
from tests.builders import START, alert_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

_HOUR = timedelta(hours=1)
_rates = st.floats(0.01, 24)


def _threshold(*, observed: float = 2.0, correction: float = 0.0, hours: int = 0) -> promise.Threshold:
    return promise.Threshold(promised=2.0, observed=observed, correction=correction, uncertainty=0.0, hours=hours)


@pytest.mark.parametrize(("rate", "surprise"), [(1.0, 1.3802), (1 / 7, 2.2253), (24.0, 0.0)])
def test_the_threshold_follows_from_the_promise(rate: float, surprise: float) -> None:
    """One alert a day is one hour in 24, one a week one in 168."""
    assert promise.surprise_at(rate) == pytest.approx(surprise, abs=1e-4)


@given(_rates, st.floats(0, 1000), st.floats(0, 1000))
def test_uncertainty_shrinks_with_evidence(rate: float, one: float, other: float) -> None:
    """The more is known of a kind of time, the less is added; never anything negative."""
    less, more = sorted((one, other))
    assert promise.uncertainty(less, rate) >= promise.uncertainty(more, rate) - 1e-9
    assert promise.uncertainty(more, rate) >= -1e-9


def test_uncertainty_vanishes() -> None:
    """After a month of weekdays nothing of it is seen."""
    assert promise.uncertainty(0, 1 / 7) == pytest.approx(0.55, abs=1e-3)
    assert promise.uncertainty(40, 1 / 7) < 0.02


@given(st.lists(st.integers(0, 28 * 24), max_size=100), _rates)
def test_alerts_move_the_threshold_within_bounds(hours: list[int], rate: float) -> None:
    """However many there are: at most ten times rarer, at most ten times as many."""
    until = START + timedelta(days=28)
    told = [START + hour * _HOUR for hour in sorted(hours)]
    found = promise.corrected(told, since=START, until=until, false_alerts_per_day=rate, lowest=-0.5)
    assert -0.5 <= found <= 1.0
    assert _threshold(observed=-9.0, correction=found, hours=1000).surprise >= 1.0
    assert _threshold(observed=9.0, correction=found).surprise <= 3.0


def test_silence_lowers_the_threshold_as_alerts_are_promised() -> None:
    """At one a week (2.2) a quiet week says next to nothing, at one a day (1.4) as much as seven can."""
    a_week = replace(_threshold(observed=0.1, correction=-1.0), promised=promise.surprise_at(1 / 7))
    a_day = replace(a_week, promised=promise.surprise_at(1.0))
    for weeks, by in ((0, 0.0), (1, 1 / 7), (2, 2 / 7), (7, 1.0), (20, 1.0)):
        assert replace(a_week, hours=weeks * 168).surprise == pytest.approx(a_week.promised - by)
    for days, by in ((0, 0.0), (1, 1 / 7), (7, 1.0), (14, 1.0)):
        assert replace(a_day, hours=days * 24).surprise == pytest.approx(a_day.promised - by)


def test_an_alert_raises_a_threshold_that_is_as_low_as_it_goes(connection: Connection) -> None:
    """Weeks of silence are no stock of alerts that are told before it moves."""
    host = _Host(connection, 1.0)
    for _ in range(14 * 24):
        host.snapshot(0.1)
    low = host.state().threshold(host.now).usual
    assert low == pytest.approx(promise.surprise_at(1.0) - 1.0)
    assert host.snapshot(5.0)
    host.snapshot(0.1)
    assert host.state().threshold(host.now).usual > low + 0.2


def test_the_rule_on_scores_is_the_one_that_ships() -> None:
    """What is counted as false alerts are alerts of that rule."""
    assert f"id: {shipped.ANOMALY_RULE}\n" in (shipped.folder("rules") / "anomaly_score.yml").read_text()


def test_the_first_weekend_is_uncertain_after_a_week_of_weekdays() -> None:
    """Each hour that is seen of it tells something of the others, and its own most."""
    week = Week()
    for hour in range(5 * 24):
        week = week.with_time(datetime(2026, 3, 2, tzinfo=START.tzinfo) + hour * _HOUR, 3600)
    saturday = datetime(2026, 3, 7, 10, tzinfo=START.tzinfo)
    assert week.missing() == ([], list(range(24)))
    assert week.evidence(saturday) == 0
    assert week.evidence(saturday - timedelta(days=1)) == 10
    later = week.with_time(saturday - 3 * _HOUR, 3600)
    assert 0 < later.evidence(saturday) < later.evidence(saturday - 3 * _HOUR)
    assert Week.unpack(later.pack()).missing() == later.missing()


class _Host:
    """A host of which an hour is one snapshot with one row; what is unusual is an alert."""

    def __init__(self, connection: Connection, rate: float) -> None:
        self.connection, self.rate, self.hour = connection, rate, 0
        self.host_id = host_number(connection, "bastion-1", START)

    @property
    def now(self) -> datetime:
        """The end of the last snapshot."""
        return START + self.hour * _HOUR

    def snapshot(self, surprise: float, burn_in_hours: float = 24) -> bool:
        """Takes an hour in; says whether its row was unusual."""
        start = self.now
        self.hour += 1
        ref = SnapshotRef(host_id=self.host_id, host="bastion-1", seq=self.hour, start=start, end=self.now)
        learning = Learning(elapsed_seconds=self.hour * 3600.0, required_seconds=burn_in_hours * 3600)
        moment = Moment(start_seconds=(self.hour - 1) * 3600.0, duration_seconds=3600.0, learning=learning)
        state = self.state()
        unusual = learning.finished and surprise >= state.threshold(start).surprise
        threshold.advance(self.connection, ref, state, moment, np.array([surprise]))
        if unusual:
            times = {"opened_at": self.now, "start": start, "end": self.now}
            self.connection.execute(
                insert(alerts).values(alert_values(host_id=self.host_id, rule_id=shipped.ANOMALY_RULE, **times))
            )
        return unusual

    def state(self) -> threshold.State:
        """As it is stored."""
        return threshold.load(self.connection, self.host_id, self.rate)


@pytest.fixture
def connection(sqlite_engine: Engine) -> Iterator[Connection]:
    """One transaction."""
    with writing(sqlite_engine) as opened:
        yield opened


def _surprises(seed: int, days: int, stretched: float) -> list[float]:
    """The largest surprise of each hour, by a tail that is wrong by so much, with days and weeks."""
    chance = random.Random(seed)
    found = []
    for hour in range(days * 24):
        moment = START + hour * _HOUR
        busy = 1.2 if 8 <= moment.hour < 18 and moment.weekday() < 5 else 0.8
        found.append(chance.expovariate(np.log(10)) * stretched * busy)
    return found


@pytest.mark.parametrize("stretched", [0.6, 1.0, 1.7])
def test_the_promise_is_kept(connection: Connection, stretched: float) -> None:
    """Over 30 days after the first week, one alert a day was promised, within a factor of two, also where the surprise
    itself is so wrong that the promise alone would tell of three times as much, or next to nothing.
    """
    host = _Host(connection, 1.0)
    told = [host.snapshot(each) for each in _surprises(3, 37, stretched)]
    assert 15 <= sum(told[7 * 24 :]) <= 60
    if stretched > 1:
        assert sum(each >= promise.surprise_at(1.0) for each in _surprises(3, 37, stretched)[7 * 24 :]) > 60
    if stretched < 1:
        assert sum(each >= promise.surprise_at(1.0) for each in _surprises(3, 37, stretched)[7 * 24 :]) < 15


def test_what_a_person_calls_true_does_not_raise_the_threshold(connection: Connection) -> None:
    """It counts from the next hour on, and so does taking it back."""
    host = _Host(connection, 1 / 7)
    for _ in range(48):
        host.snapshot(0.1)
    assert host.snapshot(5.0)
    host.snapshot(0.1)
    raised = host.state().correction
    assert raised > 0.2
    assert feedback.record(connection, 1, Verdict.TRUE, author="alice", now=host.now)
    host.snapshot(0.1)
    assert host.state().correction <= 0
    assert feedback.undo(connection, 1)
    host.snapshot(0.1)
    assert host.state().correction == pytest.approx(raised, abs=0.01)


def test_a_young_host_begins_with_the_upper_end_of_others(connection: Connection) -> None:
    """What is common elsewhere is not unusual here, and the mean of others says too little."""
    host = _Host(connection, 1.0)
    host.snapshot(0.1, burn_in_hours=0)
    assert host.state().prior == promise.THEORY
    state = replace(host.state(), hours=400, tail=replace(promise.THEORY, threshold=1.5, scale=0.9))
    for name, tail in (("bastion-2", state.tail), ("bastion-3", promise.THEORY)):
        threshold._save(connection, host_number(connection, name, START), replace(state, tail=tail))
    host.snapshot(0.1, burn_in_hours=0)
    assert (host.state().prior.threshold, host.state().prior.scale) == (1.5, 0.9)


def test_after_the_first_restarts_little_is_known(connection: Connection) -> None:
    """For half an hour after a host came back more surprise is asked for, less each time; then all is as it was."""
    host = _Host(connection, 1 / 7)
    for _ in range(14 * 24):
        host.snapshot(0.1)
    known = host.state().threshold(host.now).uncertainty
    assert host.state().restarts == 0
    asked = []
    for number in range(1, 5):
        host.hour += 2
        asked.append(host.state().threshold(host.now).uncertainty)
        host.snapshot(0.1)
        state = host.state()
        assert (state.restarts, state.restarted_at) == (number, host.now - _HOUR)
        assert state.threshold(host.now - timedelta(minutes=40)).uncertainty == pytest.approx(asked[-1])
        assert state.threshold(host.now).uncertainty < known + 0.01
    assert asked[0] == pytest.approx(promise.uncertainty(0, 1 / 7))
    assert asked == sorted(asked, reverse=True)


def test_days_that_were_not_seen_whole_are_named() -> None:
    """A weekly job may run in any hour of one."""
    week = Week()
    for hour in range(24 + 23):
        week = week.with_time(datetime(2026, 3, 2, tzinfo=START.tzinfo) + hour * _HOUR, 3600)
    assert week.missing_days() == [1, 2, 3, 4, 5, 6]


def test_moves_of_the_threshold_are_written_down(connection: Connection) -> None:
    """Those that are worth saying, with what moved it."""
    host = _Host(connection, 1 / 7)
    for number in range(150):
        host.snapshot(5.0 if number == 50 else 0.1)
    found = moves.latest(connection, host.host_id, promised=promise.surprise_at(1 / 7), most=100)
    assert len(found) > 1
    assert found[0].before == promise.surprise_at(1 / 7)
    assert all(one.after == other.before for one, other in pairwise(found))
    assert all(abs(move.after - move.before) >= 0.1 for move in found)
    assert max(move.correction for move in found) > 0.2
    assert moves.latest(connection, host.host_id, promised=0.0, most=1) == found[-1:]
    of_last = SnapshotRef(host_id=host.host_id, host="bastion-1", seq=1, start=found[-1].at - _HOUR, end=found[-1].at)
    scorer = HostScorer(Models())
    assert scorer.moved(connection, of_last) == found[-1]
    assert scorer.moved(connection, replace(of_last, end=of_last.end + _HOUR)) is None


def test_another_promise_is_another_threshold(connection: Connection) -> None:
    """A change of the setting counts at once, by the hours that were observed before it."""
    host = _Host(connection, 1 / 7)
    for each in _surprises(1, 10, 1.2):
        host.snapshot(each)
    before = host.state().threshold(host.now)
    host.rate = 1.0
    after = host.state().threshold(host.now)
    assert after.promised == pytest.approx(1.3802, abs=1e-4)
    assert before.observed - after.observed > 0.5
