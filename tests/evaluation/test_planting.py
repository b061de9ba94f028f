"""Attacks that are made up for a host."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from detector.domain import Direction, Outcome, Snapshot
from detector.evaluation.cases import moved, surroundings_of
from detector.evaluation.generate import weeks
from detector.evaluation.planting import KINDS
from tests.builders import START, count

if TYPE_CHECKING:
    from detector.evaluation.cases import Surroundings

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def surroundings() -> Surroundings:
    """What an attacker finds on a made-up bastion after two days."""
    return surroundings_of(weeks(days=2, seconds=300), start=1000.0, left=43_200.0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_planted_is_the_same_for_the_same_chance_and_begins_at_once(
    kind: str, surroundings: Surroundings
) -> None:
    """In the order of time, of one user of the host, in one login session."""
    connects = KINDS[kind].connects(surroundings, Random(1))
    assert connects == KINDS[kind].connects(surroundings, Random(1))
    assert [each.at for each in connects] == sorted(each.at for each in connects)
    assert 0 <= connects[0].at < 60
    assert len({(each.key.login_user, each.session) for each in connects}) == 1
    assert connects[0].key.login_user in {each.login_user for each in surroundings.keys}
    assert {each.key.direction for each in connects} == {Direction.OUTBOUND}


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_row_of_a_host_has_is_not_planted_either(kind: str) -> None:
    """Logs of a network know no users and programs: a row that had them would be told from the others at once."""
    bare = count("10.0.4.12", 22, executable=None, command=None, user=None, login_user=None, unit=None)
    snapshot = Snapshot(host="web-1", start=START, end=START, counts=(bare,))
    connects = KINDS[kind].connects(surroundings_of([snapshot], start=0.0, left=1.0), Random(1))
    assert connects
    assert {(each.key.user, each.key.executable, each.key.command, each.session) for each in connects} == {
        (None, None, None, 0)
    }


def test_kinds_are_what_they_say(surroundings: Surroundings) -> None:
    """A scan has a thousand ports, a slow one eight an hour, a beacon its pace, a burst more than any hour."""
    made = {name: kind.connects(surroundings, Random(7)) for name, kind in KINDS.items()}
    places = {(each.remote_address, each.remote_port) for each in surroundings.keys}
    assert len({each.key.remote_port for each in made["scan"]}) == 1000
    assert len({each.key.remote_address for each in made["scan"]}) == 1
    assert 150 < len(made["slow-scan"]) < 240
    apart = [other.at - one.at for one, other in pairwise(made["beacon"])]
    assert min(apart) >= 240
    assert max(apart) <= 360
    assert {(each.key.remote_address, each.key.remote_port) for each in made["burst"]} <= places
    assert len(made["burst"]) >= 10 * surroundings.most_an_hour
    (alone,) = made["new-destination"]
    assert (alone.key.remote_address, alone.key.remote_port) not in places
    assert alone.key.executable not in {each.executable for each in surroundings.keys}
    assert len(made["brute-force"]) == pytest.approx(600, rel=0.1)
    assert {each.key.remote_port for each in made["lateral"]} == {22}
    assert len({each.key.remote_address for each in made["sweep"]}) > 40
    assert {each.outcome for each in made["sweep"]} == {Outcome.TIMED_OUT}


def test_what_happens_after_a_hosts_last_connect_is_left_out(surroundings: Surroundings) -> None:
    """An attack ends with the recording, and is moved to where it begins."""
    connects = moved(KINDS["slow-scan"].connects(surroundings, Random(1)), surroundings)
    assert connects[0].at == 1000.0
    assert 43_200 - 900 < connects[-1].at - 1000 < 43_200


def test_the_manual_and_the_help_name_all_kinds() -> None:
    """Nobody has to read the code to know what can be planted."""
    manual = (_ROOT / "docs" / "evaluate.md").read_text()
    command = (_ROOT / "detector" / "cli" / "evaluate.py").read_text()
    for name, kind in KINDS.items():
        assert f"| `{name}` | {kind.summary} |" in manual
        assert name in command
