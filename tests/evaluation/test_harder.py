"""Harder cases, made of those that there are."""

from __future__ import annotations

from collections import Counter

from detector.domain import Outcome
from detector.evaluation.cases import Cases, RecordedAttack, generated
from detector.evaluation.connects import Connect
from detector.evaluation.harder import ODD_HISTORIES, onto_web, slower, stressed, with_odd_history
from tests.builders import count

_ATTACK = RecordedAttack(
    name="guessing",
    recorded=tuple(
        Connect(at=10.0 * number, key=count(f"10.0.4.{12 + number % 2}").key, outcome=Outcome.REFUSED)
        for number in range(4)
    ),
)


def test_on_the_web_an_attack_has_the_same_timing_and_as_many_destinations() -> None:
    """All of them public, on the port where hosts have most of theirs."""
    moved = onto_web(_ATTACK)
    assert [(str(each.key.remote_address), each.key.remote_port) for each in moved.recorded] == [
        ("198.51.100.7", 443),
        ("198.51.100.8", 443),
    ] * 2
    assert [(each.at, each.outcome) for each in moved.recorded] == [
        (each.at, each.outcome) for each in _ATTACK.recorded
    ]


def test_slower_is_the_same_over_a_longer_time() -> None:
    """Nothing else changes."""
    assert [each.at for each in slower(_ATTACK, 8).recorded] == [0, 80, 160, 240]


def test_what_is_odd_stands_in_the_history_alone() -> None:
    """Two connects to each port, before the test begins, and the rest as it was."""
    host = generated("bastion-1", seed=0, days=1, people=2)
    for odd in ODD_HISTORIES:
        before, after = host.snapshots(3600), with_odd_history(host, odd).snapshots(3600)
        added: Counter[int | None] = Counter()
        for one, other in zip(before, after, strict=True):
            new = set(other.counts) - set(one.counts)
            assert not new or one.end.timestamp() <= host.middle
            for each in new:
                added[each.key.remote_port] += each.attempted
                assert each.key.remote_address is not None
                assert each.key.remote_address.is_private is odd.private or not odd.private
        assert len(added) == odd.ports
        assert set(added.values()) == {2}


def test_stress_has_each_recorded_attack_in_the_open_and_slowly_and_every_odd_history() -> None:
    """Each under a title that says what it is."""
    cases = Cases(hosts=[generated("bastion-1", seed=0, days=1, people=2)], attacks=[_ATTACK], left_out={})
    parts = dict(stressed(cases))
    names = [each.name for each in parts["harder attacks"].attacks]
    assert names[:2] == ["guessing, port 443", "guessing, 8 times slower"]
    assert {"beacon", "slow-scan", "sweep"} < set(names)
    assert list(parts)[1:] == [
        "1 odd port at public addresses in the history",
        "4 odd ports at public addresses in the history",
        "2 odd ports at private addresses in the history",
        "4 odd ports at private addresses in the history",
    ]
