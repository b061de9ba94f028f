"""From values to probabilities of an hour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.domain import Learning
from detector.models.calibration import Calibration, Channel, Prior, Tail, fit
from detector.models.channels import CHANNELS, OUTBOUND_VOLUME, combine
from detector.models.judgement import Moment
from detector.store.engine import reading, writing

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PRIOR = Prior(threshold=0.5, scale=0.25)
_CHANNEL = Channel("bursts", _PRIOR, 0.1)
_maxima = st.lists(st.floats(0, 50), max_size=200)


def test_without_hours_the_prior_is_the_tail() -> None:
    """Before any hour was seen half of all hours are taken to exceed the prior's threshold."""
    assert fit((), _PRIOR) == Tail(threshold=0.5, exceedance=0.5, scale=0.25)


def test_the_tail_is_that_of_the_formulas() -> None:
    """Threshold, exceedance and scale follow from the hourly maxima as the formulas say."""
    tail = fit([0.0, 1.0, 2.0, 5.0], _PRIOR)
    assert tail.threshold == 2.0
    assert tail.exceedance == pytest.approx(2 / 6)
    assert tail.scale == pytest.approx((3.0 + 4 * 0.25) / 5)


def test_a_quiet_host_is_held_to_the_prior_for_some_hours() -> None:
    """Hours without anything lower the threshold slowly."""
    assert fit([0.0] * 12, _PRIOR).threshold == pytest.approx(4 * 0.5 / 16)


@given(maxima=_maxima, values=st.lists(st.floats(0, 1000), min_size=2, max_size=20))
def test_surprise_grows_with_the_value(maxima: list[float], values: list[float]) -> None:
    """Whatever was seen, surprise is never negative and never falls as the value grows."""
    surprise = fit(maxima, _PRIOR).surprise(np.array(sorted(values)))
    assert (surprise >= 0).all()
    assert (np.diff(surprise) >= -1e-12).all()


@given(maxima=_maxima, target=st.floats(1.5, 10))
def test_value_at_is_the_inverse_of_surprise(maxima: list[float], target: float) -> None:
    """The value at a surprise has that surprise, or is the threshold if the threshold has more."""
    tail = fit(maxima, _PRIOR)
    surprise = float(tail.surprise(np.array([tail.value_at(target)]))[0])
    assert surprise == pytest.approx(max(target, -math.log10(tail.exceedance)))


def test_benign_hours_exceed_a_surprise_as_often_as_it_says() -> None:
    """Of hours with exponential maxima about one in ten exceeds a surprise of 1, and one in a hundred one of 2."""
    drawn = np.random.default_rng(5).exponential(1.0, size=5000)
    tail = fit(drawn[:600].tolist(), _PRIOR)
    later = tail.surprise(drawn[600:])
    assert 0.05 < (later > 1).mean() < 0.2
    assert 0.005 < (later > 2).mean() < 0.02


def _hour(engine: Engine, hour: int, value: float) -> Tail:
    with writing(engine) as connection:
        calibration = Calibration(connection, 1, (_CHANNEL,))
        calibration.observe({"bursts": np.array([0.0, value])})
        calibration.save()
    with writing(engine) as connection:
        calibration = Calibration(connection, 1, (_CHANNEL,))
        calibration.close_hour(hour, ["bursts"], settled=range(hour + 1))
        calibration.save()
    with reading(engine) as connection:
        return Calibration(connection, 1, (_CHANNEL,)).tails["bursts"]


def test_hours_are_learnt_and_kept(engine: Engine) -> None:
    """Each hour's largest value, seen in one transaction and closed in another, moves the tail in force."""
    values = [0.1, 0.9, 0.3, 0.2, 0.4]
    tails = [_hour(engine, hour, value) for hour, value in enumerate(values)]
    assert tails[-1] == fit(values, _PRIOR)


def test_an_attack_is_learnt_slowly(sqlite_engine: Engine) -> None:
    """However large an hour's maximum, it counts as a surprise of 2.5 at most."""
    before = _hour(sqlite_engine, 0, 0.1)
    after = _hour(sqlite_engine, 1, 1e6)
    assert after == fit([0.1, before.value_at(2.5)], _PRIOR)


def test_old_hours_are_forgotten(sqlite_engine: Engine) -> None:
    """After four weeks an hour counts no more."""
    _hour(sqlite_engine, 0, 0.9)
    assert _hour(sqlite_engine, 28 * 24, 0.2) == fit([0.2], _PRIOR)


def test_hours_of_burn_in_give_way_to_those_after_it() -> None:
    """In burn-in everything is new; once a day of others was seen and has settled, its hours count no more."""

    def hours(hour: int, burn_in: float = 24) -> range:
        learning = Learning(elapsed_seconds=(hour + 1) * 3600.0, required_seconds=burn_in * 3600)
        return Moment(start_seconds=hour * 3600.0, duration_seconds=60, learning=learning).settled_hours

    assert hours(10) == range(11)
    assert hours(24) == hours(47) == range(24)
    assert hours(50) == range(3, 27)
    assert hours(71) == range(24, 48)
    assert hours(100) == range(24, 77)
    assert hours(0, burn_in=0) == range(0)
    assert hours(300, burn_in=168) == range(109, 277)


def test_after_burn_in_hours_exceed_a_surprise_as_often_as_it_says() -> None:
    """However much larger all was in burn-in: from the second day after it, within a factor of two."""
    drawn = np.random.default_rng(11).exponential(1.0, size=24 * 40)
    values = np.where(np.arange(len(drawn)) < 24, 3.0 + 2.0 * drawn, drawn)
    exceeding = {24: 0, 10: 0, 4: 0}
    judged = range(72, len(values))
    for hour in judged:
        learning = Learning(elapsed_seconds=hour * 3600.0, required_seconds=24 * 3600.0)
        settled = Moment(start_seconds=(hour - 1) * 3600.0, duration_seconds=3600, learning=learning).settled_hours
        (surprise,) = fit(values[settled.start : settled.stop].tolist(), _PRIOR).surprise(values[hour : hour + 1])
        for hours in exceeding:
            exceeding[hours] += surprise > math.log10(hours)
    for hours, number in exceeding.items():
        assert 0.5 < number * hours / len(judged) < 2.0


@given(maxima=_maxima, usual=st.floats(0, math.log1p(19)))
def test_a_larger_burst_is_stranger_whatever_was_seen(maxima: list[float], usual: float) -> None:
    """20,000 connects are strictly above 200, and these above 20, however large the hours of the past."""
    excess = np.log1p(np.array([20.0, 200.0, 20_000.0])) - usual
    by_volume, of_row = combine({OUTBOUND_VOLUME[1].name: fit(maxima, _PRIOR).surprise(excess)}), []
    for row in (0, 1, 2):
        nothing = {each.name: np.zeros(1) for each in CHANNELS}
        surprise = fit(maxima, _PRIOR).surprise(excess[row : row + 1])
        of_row.append(float(combine({**nothing, OUTBOUND_VOLUME[1].name: surprise}).surprise[0]))
    assert by_volume.surprise[0] < by_volume.surprise[1] < by_volume.surprise[2]
    assert of_row[0] < of_row[1] < of_row[2]
