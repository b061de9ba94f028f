"""How seldom something is met for the first time."""

from __future__ import annotations

import math
from ipaddress import ip_address
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.models import novelty
from detector.models.endpoints import Endpoint, place
from detector.models.features import ENDPOINT, EndpointSubjects, number_endpoint
from detector.models.state import Subjects
from detector.store.engine import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from detector.models.novelty import NoveltyScores

_HOUR = 3600.0


def _endpoint(address: str, port: int) -> Endpoint:
    parsed = ip_address(address)
    return Endpoint(outbound=True, address=parsed, place=place(parsed), port=port)


def _numbered(subjects: Subjects, endpoints: Sequence[Endpoint]) -> EndpointSubjects:
    numbers = np.array([number_endpoint(subjects, each) for each in endpoints])
    return EndpointSubjects(**dict(zip(ENDPOINT, numbers.T, strict=True)))


def _meet(engine: Engine, hours: float, *endpoints: Endpoint) -> NoveltyScores:
    """Judges endpoints after so many hours observed, and learns them."""
    with writing(engine) as connection:
        subjects = Subjects(connection, 1)
        numbers = _numbered(subjects, endpoints)
        subjects.load()
        now = hours * _HOUR
        scores = novelty.judge(subjects, endpoints, numbers, now_seconds=now)
        benign = np.zeros(len(endpoints), dtype=bool)
        subjects.touch(np.concatenate(numbers.columns), hour=int(hours), now_seconds=now)
        novelty.learn(subjects, endpoints, numbers, scores, benign, hour=int(hours), now_seconds=now)
        subjects.save()
    return scores


def test_a_port_that_was_never_used(sqlite_engine: Engine) -> None:
    """After T hours without one, a new low port has the probability θ / (θ + T) with θ = .05."""
    _meet(sqlite_engine, 0, _endpoint("10.0.4.12", 22))
    scores = _meet(sqlite_engine, 20, _endpoint("10.0.4.12", 25))
    assert scores.surprise[0] == pytest.approx(-math.log10(0.05 / 20.05))


def test_a_destination_on_a_known_port(sqlite_engine: Engine) -> None:
    """The host's rate is shrunk towards the port's own with six hours of weight."""
    _meet(sqlite_engine, 0, _endpoint("10.0.4.12", 22))
    scores = _meet(sqlite_engine, 20, _endpoint("10.9.9.9", 22))
    rate = 0.2 / 20.2
    assert scores.surprise[0] == pytest.approx(-math.log10(6 * rate / 26))


def test_an_hour_counts_once(sqlite_engine: Engine) -> None:
    """Many discoveries in one hour count as one hour with a discovery."""
    _meet(sqlite_engine, 0, _endpoint("10.0.4.12", 22))
    _meet(sqlite_engine, 10, *(_endpoint("10.0.4.12", port) for port in range(100, 200)))
    _meet(sqlite_engine, 10.5, _endpoint("10.0.4.12", 300))
    scores = _meet(sqlite_engine, 20, _endpoint("10.0.4.13", 301))
    assert scores.surprise[0] == pytest.approx(-math.log10(1.05 / 20.05))


def test_the_first_hour_does_not_count(sqlite_engine: Engine) -> None:
    """Everything is new in the first hour: what it discovers does not make discoveries usual."""
    _meet(sqlite_engine, 0.5, _endpoint("10.0.4.12", 22), _endpoint("10.0.4.12", 25))
    scores = _meet(sqlite_engine, 20, _endpoint("10.0.4.12", 26))
    assert scores.surprise[0] == pytest.approx(-math.log10(0.05 / 20.05))


def test_novelty_ages(sqlite_engine: Engine) -> None:
    """A day after it was found a strange endpoint has a surprise e times smaller."""
    _meet(sqlite_engine, 0, _endpoint("10.0.4.12", 22))
    first = _meet(sqlite_engine, 20, _endpoint("10.0.4.12", 25)).surprise[0]
    later = _meet(sqlite_engine, 44, _endpoint("10.0.4.12", 25))
    assert later.surprise[0] == pytest.approx(first / math.e)
    assert later.discoveries == (None,)
    assert later.found_seconds[0] == 20 * _HOUR


def test_a_destination_lends_its_novelty_to_its_other_ports(sqlite_engine: Engine) -> None:
    """Nine tenths of a destination's surprise are handed to its other ports, old ones too."""
    _meet(sqlite_engine, 0, _endpoint("10.0.4.12", 22), _endpoint("10.0.4.13", 22))
    first = _meet(sqlite_engine, 20, _endpoint("10.0.4.12", 25)).surprise[0]
    known, other = _meet(sqlite_engine, 20, _endpoint("10.0.4.12", 22), _endpoint("10.0.4.13", 22)).surprise
    assert known == pytest.approx(0.9 * first)
    assert other < 0.2


def test_a_rate_above_one_an_hour_is_no_surprise(sqlite_engine: Engine) -> None:
    """A host that discovers something in every hour is not surprised by the next."""
    for hour in range(1, 6):
        _meet(sqlite_engine, hour, _endpoint("10.0.4.12", 100 + hour))
    assert _meet(sqlite_engine, 5.01, _endpoint("10.0.4.13", 300)).surprise[0] == pytest.approx(0, abs=0.01)


def test_scores_do_not_depend_on_the_order(sqlite_engine: Engine) -> None:
    """Endpoints of one snapshot are judged as things stood before it, each by itself."""
    _meet(sqlite_engine, 0, _endpoint("10.0.4.12", 22))
    ends = [_endpoint(f"10.7.0.{n}", port) for n in range(5) for port in (22, 25, 443, 50_000)]
    with writing(sqlite_engine) as connection:
        subjects = Subjects(connection, 1)
        forwards, backwards = (_numbered(subjects, each) for each in (ends, ends[::-1]))
        subjects.load()
        one = novelty.judge(subjects, ends, forwards, now_seconds=10 * _HOUR).surprise
        other = novelty.judge(subjects, ends[::-1], backwards, now_seconds=10 * _HOUR).surprise
    assert one.tolist() == other[::-1].tolist()
