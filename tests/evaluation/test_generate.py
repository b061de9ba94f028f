"""Made-up weeks: what others measure on has to be the same everywhere, and like a bastion."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.domain import Direction, Protocol
from detector.evaluation.generate import Bastion, weeks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector.domain import ConnectionKey, Snapshot


@pytest.fixture(scope="module")
def fortnight() -> list[Snapshot]:
    """Two weeks in snapshots of five minutes."""
    return list(weeks(days=14, seconds=300))


def _totals(snapshots: Iterable[Snapshot]) -> Counter[ConnectionKey]:
    totals: Counter[ConnectionKey] = Counter()
    for snapshot in snapshots:
        for each in snapshot.counts:
            totals[each.key] += each.attempted
    return totals


def _by_day(snapshots: Iterable[Snapshot], user: str | None = None) -> list[int]:
    days: Counter[int] = Counter()
    for snapshot in snapshots:
        for each in snapshot.counts:
            if user is None or each.key.login_user == user:
                days[snapshot.start.toordinal()] += each.attempted
    return [days[day] for day in range(min(days), max(days) + 1)]


def test_the_same_seed_gives_the_same_traffic_and_another_one_other() -> None:
    """What is made up depends on the seed alone."""
    assert list(weeks(seed=3, days=1, seconds=300)) == list(weeks(seed=3, days=1, seconds=300))
    assert _totals(weeks(seed=3, days=1, seconds=300)) != _totals(weeks(seed=4, days=1, seconds=300))


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000), seconds=st.sampled_from([10, 60, 600, 3600]))
def test_snapshots_of_any_length_hold_the_same_connects(seed: int, seconds: int) -> None:
    """A count is of connects that were made up before anybody counted."""
    assert _totals(weeks(seed=seed, days=1, seconds=seconds)) == _totals(weeks(seed=seed, days=1, seconds=300))


def test_a_longer_time_begins_like_a_shorter_one() -> None:
    """Five days more change nothing of the first two."""
    longer = weeks(days=7, seconds=3600)
    assert [next(longer) for _ in range(2 * 24)] == list(weeks(days=2, seconds=3600))


def test_every_interval_has_a_snapshot_but_while_the_machine_starts_anew(fortnight: list[Snapshot]) -> None:
    """Snapshots follow one another; the one before a restart says that the collector stopped."""
    (stop,) = Bastion(days=14).stops
    gaps = [(one, other) for one, other in pairwise(fortnight) if one.end != other.start]
    assert [(one.end.timestamp(), other.start.timestamp()) for one, other in gaps] == [stop]
    assert [each for each in fortnight if each.health.stopped] == [gaps[0][0]]


def test_people_come_on_working_days_and_services_run_on_all(fortnight: list[Snapshot]) -> None:
    """At a weekend a fifth of the people's connects at most, and about as much of the rest."""
    people = [
        sum(each.attempted for each in snapshot.counts if each.key.login_user is not None) for snapshot in fortnight
    ]
    weekend = [snapshot.start.weekday() >= 5 for snapshot in fortnight]
    on_weekends = sum(number for number, free in zip(people, weekend, strict=True) if free) / 4
    on_working_days = sum(number for number, free in zip(people, weekend, strict=True) if not free) / 10
    assert on_working_days > 300
    assert on_weekends < on_working_days / 5
    assert min(_by_day(fortnight)) > 0.75 * max(_by_day(fortnight))


def test_it_has_what_a_bastion_has(fortnight: list[Snapshot]) -> None:
    """Logins from outside, sessions with where they came from, flows, failures, and names of all that connects."""
    counts = [each for snapshot in fortnight for each in snapshot.counts]
    assert {each.key.direction for each in counts} == set(Direction)
    assert {each.key.protocol for each in counts} == {Protocol.TCP, Protocol.UDP}
    assert all(each.key.executable and each.key.user for each in counts)
    assert all(each.login_address for each in counts if each.session)
    failed = sum(each.refused + each.timed_out for each in counts)
    assert 0.002 < failed / sum(each.attempted for each in counts) < 0.02
    assert all(
        each.attempted == each.established + each.refused + each.timed_out + each.failed
        for each in counts
        if each.key.protocol is Protocol.TCP
    )


def test_a_browser_meets_new_addresses_all_the_time_and_ssh_hardly_ever(fortnight: list[Snapshot]) -> None:
    """In the second week most of the browsers' addresses are new, and few of those of ssh."""
    new: dict[str, float] = {}
    for program in ("firefox-esr", "ssh"):
        halves = [
            {each.key.remote_address for snapshot in part for each in snapshot.counts if each.key.command == program}
            for part in (fortnight[: 7 * 288], fortnight[7 * 288 :])
        ]
        new[program] = len(halves[1] - halves[0]) / len(halves[1])
    assert new["firefox-esr"] > 0.5
    assert new["ssh"] < 0.2
