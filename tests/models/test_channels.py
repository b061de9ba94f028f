"""What the channels catch, and what they leave alone, on a host where people browse all day."""

from __future__ import annotations

import math
import random
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom  # type: ignore[import-untyped]

from detector.config import Models
from detector.models.channels import CHANNELS, ISOLATION, MEMBERS, combine
from detector.models.failures import beta_binomial_tail
from detector.store.engine import open_store
from detector.store.migrating import upgrade
from tests.builders import count
from tests.models.conftest import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from detector.domain import ConnectionCount, Observation

_SETTINGS = Models(train_every_hours=720)
_DAYS = 5
_BROWSER = {"executable": "/usr/bin/firefox", "user": "alice", "login_user": "alice"}
_BACKUP = {"executable": "/usr/bin/restic", "user": "root", "login_user": None}
_ADMIN = {"executable": "/usr/bin/ssh", "user": "bob", "login_user": "bob"}


def _hour(number: int) -> tuple[ConnectionCount, ...]:
    """Pages at two new addresses, a backup and two logins onward."""
    pages = (
        count(f"93.{number // 200 + 1}.{number % 200}.{site}", 443, attempted=4, established=4, **_BROWSER)
        for site in (1, 2)
    )
    return (
        *pages,
        count("10.0.5.5", 22, attempted=1, established=1, **_BACKUP),
        count("10.0.4.12", 22, attempted=2, established=2, **_ADMIN),
    )


@pytest.fixture(scope="session")
def _browsing_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "browsing.db"
    engine = open_store(f"sqlite:///{path}")
    upgrade(engine)
    watched = Watched(engine, _SETTINGS, interval=timedelta(hours=1))
    for number in range(_DAYS * 24):
        watched.snapshot(*_hour(number))
    engine.dispose()
    return path


@pytest.fixture
def browsing(_browsing_days: Path, tmp_path: Path) -> Iterator[Watched]:
    """A host after five days in which a browser met two new addresses each hour, and nothing else ever was new."""
    path = tmp_path / "browsing.db"
    shutil.copy(_browsing_days, path)
    engine = open_store(f"sqlite:///{path}")
    watched = Watched(engine, _SETTINGS, interval=timedelta(hours=1))
    watched.recorder.pass_time(hours=_DAYS * 24)
    yield watched
    engine.dispose()


def _one(watched: Watched, **who: str | None) -> Observation:
    (observed,) = watched.would_say(count("203.0.113.77", 443, attempted=1, established=1, **who))
    return observed


@pytest.mark.parametrize(
    ("who", "told"),
    [
        (_BACKUP, "this executable never connected to port 443 in the 120 hours in which it was active"),
        ({**_BROWSER, "user": "bob", "login_user": "bob"}, "this user never connected to port 443 in the 120 hours"),
    ],
)
def test_a_single_connect_by_who_never_did_so(browsing: Watched, who: dict[str, str | None], told: str) -> None:
    """One connect to a new address on the port that others use all day is unusual, and the sentence says for whom."""
    observed = _one(browsing, **who)
    assert observed.unusual
    assert observed.channel == "actor"
    assert observed.explanation is not None
    assert observed.explanation.startswith(told)


def test_how_long_ago_it_began_is_said_in_time_as_people_know_it(browsing: Watched) -> None:
    """What is suspicious ages 28 times slower, so that it does not become usual; its sentence tells the hours."""
    said = [
        browsing.snapshot(count("203.0.113.77", 443, attempted=1, established=1, **_BACKUP))[0].explanation
        for _ in range(3)
    ]
    assert said[1:] == [
        f"203.0.113.77 port 443 is still new for this executable: it began {hours} h ago and was unusual"
        for hours in (1, 2)
    ]


def test_the_same_connect_by_who_always_does_so(browsing: Watched) -> None:
    """A browser that meets new addresses in every hour may meet another one."""
    observed = _one(browsing, **_BROWSER)
    assert observed.surprise is not None
    assert observed.surprise < 0.5


def test_a_program_that_never_connected(browsing: Watched) -> None:
    """An executable that is new on this host is strange, whatever it connects to."""
    (observed,) = browsing.would_say(count("10.0.4.12", 22, **{**_ADMIN, "executable": "/tmp/x"}))
    assert observed.p_actor is not None
    assert observed.p_actor < 0.01
    assert observed.surprise is not None
    assert observed.surprise > 1


def test_a_slow_scan_is_caught_within_a_day(browsing: Watched) -> None:
    """Eight ports an hour of a known destination, by who knows it."""
    sweeps = []
    for hour in range(24):
        scan = [count("10.0.4.12", 9000 + 8 * hour + n, refused=1, established=0, **_ADMIN) for n in range(8)]
        observed = browsing.snapshot(*_hour(_DAYS * 24 + hour), *scan)
        sweeps.append(min(each.p_port_sweep or 1.0 for each in observed))
        if hour == 0:
            assert any(each.unusual for each in observed)
    assert sweeps[-1] < 1e-3


def test_a_beacon_is_caught_within_a_day(browsing: Watched) -> None:
    """Every 15 minutes, give or take 20 %, from the browser itself to one of the new addresses that it always meets."""
    browsing.recorder.interval = timedelta(minutes=5)
    chance, due, caught = random.Random(3), 0.0, None
    for number in range(24 * 12):
        rows = list(_hour(5000 + number // 12)) if number % 12 == 0 else []
        if number * 5 >= due:
            due += 15 * (1 + chance.uniform(-0.2, 0.2))
            rows.append(count("198.51.100.9", 443, attempted=1, established=1, **_BROWSER))
        observed = browsing.snapshot(*rows)
        if any(each.unusual for each in observed):
            caught = observed
            break
    assert caught is not None
    words = [each.explanation for each in caught if each.unusual]
    assert all(each is not None and "198.51.100.9" in each for each in words)


def test_an_attack_that_lasts_does_not_become_normal(browsing: Watched) -> None:
    """A week of the same connects each hour is as unusual at its end."""
    shell = count("198.51.100.66", 4444, attempted=2, established=2, **_ADMIN)
    first = last = None
    for hour in range(7 * 24):
        observed = browsing.snapshot(*_hour(_DAYS * 24 + hour), shell)
        last = max(observed, key=lambda each: each.surprise or 0.0)
        first = first or last
    assert first is not None
    assert last is not None
    assert first.unusual
    assert last.unusual
    assert last.p_novelty is not None
    assert first.p_novelty is not None
    assert last.p_novelty < first.p_novelty**0.75


def test_failures_are_told_beside_the_usual_share(browsing: Watched) -> None:
    """Forty failures in a row to a known destination are a matter of failures, in words with both numbers."""
    row = count("10.0.4.12", 22, attempted=3, established=0, refused=3, **_ADMIN)
    (observed,) = browsing.would_say(row)
    assert observed.p_failures is not None
    assert observed.p_failures < 0.1
    (many,) = browsing.would_say(count("10.0.4.12", 22, attempted=40, established=0, refused=40, **_ADMIN))
    assert many.p_failures is not None
    assert many.p_failures < observed.p_failures


@pytest.mark.parametrize(
    ("least", "draws", "alpha", "beta"), [(1, 1, 0.1, 9.9), (3, 9, 0.5, 9.5), (400, 400, 2.0, 8.0)]
)
def test_the_tail_of_failures(least: int, draws: int, alpha: float, beta: float) -> None:
    """It is that of the beta-binomial distribution."""
    expected = sum(betabinom.pmf(range(least, draws + 1), draws, alpha, beta))
    assert math.isclose(beta_binomial_tail(least, draws, alpha, beta), expected, rel_tol=1e-6)


def test_a_channel_has_one_tail_for_each_name() -> None:
    """No two members are calibrated as one."""
    names = [each.name for members in MEMBERS.values() for each in members]
    assert len(names) == len(set(names))


_SURPRISES = st.fixed_dictionaries(
    {each.name: st.floats(0, 500) for members in MEMBERS.values() for each in members if each.name != ISOLATION.name}
)


def _together(surprises: dict[str, float]) -> float:
    combined = combine({name: np.array([value]) for name, value in surprises.items()})
    return float(combined.surprise[0])


@given(surprises=_SURPRISES, name=st.sampled_from([each.name for each in CHANNELS if each is not ISOLATION]))
def test_several_signs_are_between_the_strongest_and_the_harmonic_mean(surprises: dict[str, float], name: str) -> None:
    """What is said of a row never falls as one of its signs grows, and one clear sign is enough."""
    together = _together(surprises)
    there = [each for members in MEMBERS.values() for each in members if each.name in surprises]
    total = sum(each.weight for each in there)
    weighted = np.array([surprises[each.name] + math.log10(each.weight / total) for each in there])
    harmonic = weighted.max() + math.log10((10.0 ** (weighted - weighted.max())).sum())
    assert together >= max(0.0, weighted.max()) - 1e-9
    assert together <= harmonic + 1e-9
    assert _together({**surprises, name: surprises[name] + 1}) >= together


def test_what_is_rare_in_every_way_is_as_rare_as_it_says() -> None:
    """Of hours with signs that are independent, or all the same, one in 24 holds a surprise of log10(24), and one in a
    hundred one of 2, about.
    """
    chance = np.random.default_rng(7)
    names = [each.name for members in MEMBERS.values() for each in members]
    drawn = -np.log10(chance.uniform(size=(len(names), 50_000)))
    for signs in (drawn, np.broadcast_to(drawn[0], drawn.shape)):
        surprise = combine(dict(zip(names, signs, strict=True))).surprise
        for hours in (24, 100):
            assert 0.25 < float(np.mean(surprise > math.log10(hours))) * hours < 1.5


def test_ordinary_connects_are_not_blamed_for_the_evidence_against_others(browsing: Watched) -> None:
    """After a slow burst to where the host always connects, what always goes there is as usual as before."""
    browsing.recorder.interval = timedelta(minutes=5)
    usual = count("10.0.4.12", 22, attempted=1, established=1, **_ADMIN)
    for _ in range(8):
        (burst,) = browsing.snapshot(count("10.0.4.12", 22, attempted=40, established=40, **_ADMIN))
    (after,) = browsing.would_say(usual)
    assert burst.p_evidence is not None
    assert burst.p_evidence < 0.01
    assert after.p_evidence is not None
    assert after.p_evidence > 0.5
    assert not after.unusual
