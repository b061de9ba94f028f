"""What is usual for an endpoint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.domain import StoredCount
from detector.models import baseline, facts, features
from detector.models.state import Subjects
from detector.store.engine import writing
from tests.builders import START, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from sqlalchemy import Engine

    from detector.domain import ConnectionCount
    from detector.models.baseline import Volumes
    from detector.models.features import Arranged, EndpointSubjects


def _arranged(
    subjects: Subjects, counts: Sequence[ConnectionCount]
) -> tuple[Arranged, EndpointSubjects, npt.NDArray[np.int64]]:
    stored = [StoredCount(key_id=number, count=each, first_seen=START) for number, each in enumerate(counts)]
    of_keys = facts.look_up(subjects, stored)
    arranged = features.arrange(stored, of_keys)
    return arranged, features.of_endpoints(of_keys, arranged), of_keys.host[arranged.first]


def _take_in(engine: Engine, now: float, duration: float, *counts: ConnectionCount) -> Volumes:
    with writing(engine) as connection:
        subjects = Subjects(connection, 1)
        arranged, numbers, hosts = _arranged(subjects, counts)
        subjects.load()
        volumes = baseline.judge(subjects, arranged, numbers, hosts, now_seconds=now, duration_seconds=duration)
        subjects.touch(numbers.pair, hour=int(now // 3600), now_seconds=now)
        benign = np.zeros(len(arranged.endpoints), dtype=bool)
        baseline.learn(subjects, numbers, hosts, volumes, benign, now_seconds=now, duration_seconds=duration)
        subjects.save()
    return volumes


def test_an_unknown_endpoint_is_expected_to_make_one_connect(sqlite_engine: Engine) -> None:
    """On a host that is not known yet, an endpoint's usual count is one."""
    volumes = _take_in(sqlite_engine, 0, 60, count(attempted=7))
    assert volumes.usual[0] == pytest.approx(math.log(2))
    assert volumes.excess[0] == pytest.approx(math.log(8) - math.log(2))
    assert (volumes.young[0], volumes.hour_young[0]) == (True, True)


def test_the_usual_follows_what_is_seen(sqlite_engine: Engine) -> None:
    """After many snapshots of nine connects nine are usual, and no longer a new endpoint's business."""
    for number in range(100):
        volumes = _take_in(sqlite_engine, number * 300.0, 300, count(attempted=9))
    assert volumes.usual[0] == pytest.approx(math.log(10), rel=0.02)
    assert volumes.excess[0] < 0.05
    assert (volumes.young[0], volumes.hour_young[0]) == (False, False)


def test_the_hour_slides(sqlite_engine: Engine) -> None:
    """Of the observed hour before, as much counts as is less than an hour ago; two hours later nothing is left."""
    _take_in(sqlite_engine, 0, 60, count(attempted=100))
    assert _take_in(sqlite_engine, 1800, 60, count(attempted=1)).hour_connects[0] == 101
    assert _take_in(sqlite_engine, 4500, 60, count(attempted=1)).hour_connects[0] == pytest.approx(101 * 0.75 + 1)
    assert _take_in(sqlite_engine, 10_800, 60, count(attempted=1)).hour_connects[0] == 1


def test_ordinary_connects_are_not_blamed_for_an_hour(sqlite_engine: Engine) -> None:
    """Only a snapshot that made at least a fifth of its share of the hour answers for it."""
    _take_in(sqlite_engine, 0, 60, count(attempted=6000))
    assert not _take_in(sqlite_engine, 60, 60, count(attempted=2)).hour_excess[0]
    assert _take_in(sqlite_engine, 120, 60, count(attempted=200)).hour_excess[0] > 5


def test_a_burst_is_learnt_slowly(sqlite_engine: Engine) -> None:
    """A snapshot moves the mean by at most a tenth of one, whatever its size."""
    for number in range(50):
        before = _take_in(sqlite_engine, number * 60.0, 60, count(attempted=1)).usual[0]
    _take_in(sqlite_engine, 3000, 60, count(attempted=1_000_000))
    after = _take_in(sqlite_engine, 3060, 60, count(attempted=1)).usual[0]
    assert 0 < after - before < 0.12


def test_short_snapshots_are_learnt_in_proportion(sqlite_engine: Engine) -> None:
    """Six snapshots of ten seconds move the mean about as far as one of a minute."""
    steps = []
    for offset, (length, times) in enumerate(((60, 1), (10, 6))):
        port = 22 + offset
        for number in range(200):
            _take_in(sqlite_engine, number * 60.0, 60, count(port=port, attempted=1))
        for number in range(times):
            _take_in(sqlite_engine, 12_000 + number * length, length, count(port=port, attempted=50))
        usual = _take_in(sqlite_engine, 12_100, length, count(port=port, attempted=1)).usual[0]
        steps.append(usual - math.log(2))
    assert steps[1] == pytest.approx(steps[0], rel=0.2)


def test_the_order_of_rows_does_not_matter(sqlite_engine: Engine) -> None:
    """The host's mean is the same whichever row comes first."""
    rows = [count(f"10.0.4.{n}", attempted=n * n + 1) for n in range(1, 30)]
    usual = []
    for port, ordered in ((22, rows), (22, rows[::-1])):
        with writing(sqlite_engine) as connection:
            subjects = Subjects(connection, port)
            arranged, numbers, hosts = _arranged(subjects, ordered)
            subjects.load()
            volumes = baseline.judge(subjects, arranged, numbers, hosts, now_seconds=0, duration_seconds=60)
            benign = np.zeros(len(arranged.endpoints), dtype=bool)
            baseline.learn(subjects, numbers, hosts, volumes, benign, now_seconds=0, duration_seconds=60)
            usual.append(float(subjects.values["mean"][hosts[0]]))
    assert usual[0] == usual[1]
