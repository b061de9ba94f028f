"""What an alert about capture says, from what its snapshots say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts.facts import CaptureFacts, Distinct, Facts, Totals
from detector.alerts.wording import summary
from detector.domain import Losses
from tests.builders import START
from tests.hostile import TEXT


def told(**values: Any) -> str:
    """The sentences about capture on a host."""
    facts = CaptureFacts(**{"host": "bastion-1", "end": START, **values})
    return summary(Facts(duration=timedelta(seconds=10), totals=Totals(), capture=facts))


@pytest.mark.parametrize("kind", sorted(Losses.__dataclass_fields__))
def test_every_kind_of_loss_has_words(kind: str) -> None:
    """One and several, each in words of its own."""
    one, two = (told(losses=Losses(**{kind: number})) for number in (1, 2))
    assert "bastion-1" in one
    assert "1 " in one
    assert "2 " in two
    assert one.replace("1 ", "2 ") != two or kind == "folded"
    assert "complete" not in one


def test_what_is_not_known_is_not_said() -> None:
    """A failed self-test without a time it last passed, and folded counts without a program."""
    assert told(self_test_failed=True) == "Capture on bastion-1 failed its self-test: connects may not be counted."
    assert told(losses=Losses(folded=1)) == (
        "bastion-1: 1 event counted without address and port: there were too many at once."
    )


def test_nothing_wrong_is_said_as_well() -> None:
    """A rule may be about what is right, what is never seen, or a delay that nobody else would mention."""
    assert told() == "Capture on bastion-1 is complete."
    assert told(unseen="names of destinations; scripts") == (
        "Capture on bastion-1 does not see: names of destinations; scripts."
    )
    assert told(late_seconds=0.6) == "Counts of bastion-1 were read 1 s late."
    assert told(late_seconds=0.6, losses=Losses(missed=1)).endswith("did not show).")


def test_a_clock_set_to_and_fro() -> None:
    """Both ways are said."""
    assert told(forward_seconds=120.0, back_seconds=3605.0) == "bastion-1's clock was set forward 2 min and back 1 h."


def test_blindness_survives_a_clock_that_was_set_back() -> None:
    """It cannot have lasted less than no time."""
    assert "(less than a second)" in told(blind_since=START + timedelta(hours=1))


def test_how_large_it_is() -> None:
    """Events that were lost in any way, or minutes that nobody watched."""
    since = START - timedelta(minutes=9, seconds=59)
    assert CaptureFacts(host="h", end=START, blind_since=since).magnitude == 9
    assert CaptureFacts(host="h", end=START, gap_seconds=120.0, losses=Losses(folded=1, missed=4)).magnitude == 5
    assert CaptureFacts(host="h", end=START, late_seconds=900.0).magnitude == 0


@given(host=TEXT, program=TEXT, unseen=TEXT, losses=st.integers(0, 2**62), seconds=st.floats(0, 1e9))
def test_hostile_names_stay_on_the_line(host: str, program: str, unseen: str, losses: int, seconds: float) -> None:
    """Whatever host and programs are called, the sentences are one bounded line of printable text."""
    every = Losses(**dict.fromkeys(Losses.__dataclass_fields__, losses))
    sentence = told(
        host=host,
        losses=every,
        blind_since=START - timedelta(seconds=seconds),
        gaps=1,
        gap_seconds=seconds,
        gap_end=START,
        back_seconds=seconds,
        late_seconds=seconds,
        suspended_seconds=seconds,
        programs=Distinct(1, program),
        unseen=unseen,
    )
    assert sentence.isprintable()
    assert len(sentence) < 3000
    assert told(host=host, unseen=unseen).isprintable()
