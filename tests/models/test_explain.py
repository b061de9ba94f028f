"""Sentences for people."""

from __future__ import annotations

import math
from ipaddress import ip_address

import pytest

from detector.models import explain
from detector.models.endpoints import Endpoint, place
from detector.models.features import FEATURES
from detector.models.novelty import Novelty


def _endpoint(*, outbound: bool = True) -> Endpoint:
    address = ip_address("10.0.4.12")
    return Endpoint(outbound=outbound, address=address, place=place(address), port=22)


def test_first_contact() -> None:
    """A first contact says how seldom the host makes one."""
    assert explain.first_contact(_endpoint(), Novelty.DESTINATION, math.log10(40)) == (
        "first contact with 10.0.4.12; this host meets a new destination on port 22 in about 1 hour of 40"
    )


@pytest.mark.parametrize("novelty", Novelty)
def test_every_novelty_has_its_sentence(novelty: Novelty) -> None:
    """Each kind of novelty is put into words with address and rate, however small the rate."""
    sentence = explain.first_contact(_endpoint(), novelty, 400.0)
    assert "10.0.4.12" in sentence
    assert "in about 1 hour of 1,000,000,000,000" in sentence


def test_volume() -> None:
    """A burst is told in connects, beside the usual number."""
    sentence = explain.volume(_endpoint(), connects=312.0, usual=math.log1p(3), period_seconds=10, young=False)
    assert sentence == "312 connects to 10.0.4.12 port 22 within 10 s, where it usually makes 3"
    sentence = explain.volume(
        _endpoint(outbound=False), connects=1312.4, usual=math.log1p(0.2), period_seconds=3600, young=True
    )
    assert sentence == (
        "1,312 inbound connections from the network of 10.0.4.12 to port 22 within 1 h, "
        "where a new source usually makes 1 on this host"
    )


def test_still_new() -> None:
    """What was new a while ago says when."""
    assert "was 1.5 h ago" in explain.still_new(_endpoint(), 5400)
    assert "was 2 d ago" in explain.still_new(_endpoint(), 2 * 86_400)


def test_combination() -> None:
    """Every feature has its words, and none is said twice."""
    assert explain.combination(("clock_sine", "clock_cosine", "user_executable")) == (
        "unusual combination: the time of day, the user with this executable"
    )
    assert explain.combination(()) == "unusual combination of what is each usual"
    assert all(explain.combination((feature,)) for feature in FEATURES)
