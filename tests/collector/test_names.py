"""Names of addresses, learnt from DNS answers."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.collector.names import Names, Reading
from detector.collector.resolvers import Refusal, Resolvers
from tests.dns_answers import RESOLVER, configure, message, received

if TYPE_CHECKING:
    from pathlib import Path

_DAY = 24 * 3600
_DB = ip_address("10.0.4.12")


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """A memory for 100 names, on a host that asks 10.0.0.2."""
    return Names(100, Resolvers(configure(tmp_path / "resolv.conf", RESOLVER)))


def _name(names: Names, address: str, at: float = 0.0) -> str | None:
    known = names.name_of(ip_address(address), at)
    return known[0] if known else None


def test_an_address_has_the_name_it_was_an_answer_for(names: Names) -> None:
    """Each address of an answer, IPv4 or IPv6, behind aliases or not; others have none."""
    names.learn(received(message("db.example.com", "10.0.4.12", "2001:db8::12", aliases=("db7.internal",))), 0)
    assert _name(names, "10.0.4.12") == "db.example.com"
    assert _name(names, "2001:db8::12") == "db.example.com"
    assert _name(names, "10.0.4.13") is None
    assert names.counted == {Reading.LEARNT: 1}


@pytest.mark.parametrize(
    ("circumstances", "source"),
    [
        ({}, "udp answer of 10.0.0.2"),
        ({"server": "127.0.0.53"}, "udp answer of 127.0.0.53"),
        ({"server": "2001:db8::53"}, "udp answer of 2001:db8::53"),
        ({"tcp": True}, "tcp answer of 10.0.0.2"),
        ({"uid": 0}, "udp answer of 10.0.0.2"),
        ({"uid": 1000}, "udp answer of 10.0.0.2 to uid 1000"),
    ],
)
def test_a_name_says_how_it_was_learnt(names: Names, circumstances: dict[str, Any], source: str) -> None:
    """By which protocol, from which server, and to whom if that was no service."""
    names.learn(received(message("db.example.com", "10.0.4.12"), **circumstances), 0)
    assert names.name_of(_DB, 0) == ("db.example.com", source)


def test_the_last_answer_wins(names: Names) -> None:
    """An address that several names have is called by the one asked for last."""
    for name in ("one.example.com", "two.example.com", "one.example.com"):
        names.learn(received(message(name, "10.0.4.12")), 0)
        assert _name(names, "10.0.4.12") == name
    assert len(names) == 1


@pytest.mark.parametrize(
    ("ttl", "kept"), [(0, _DAY), (300, _DAY), (2 * _DAY, 2 * _DAY), (30 * _DAY, 7 * _DAY), (2**31 - 1, 7 * _DAY)]
)
def test_a_name_outlives_its_ttl_but_not_for_ever(names: Names, ttl: int, kept: int) -> None:
    """It is kept a day after the last answer, longer if that says so, never longer than a week."""
    names.learn(received(message("db.example.com", "10.0.4.12", ttl=ttl)), 1000)
    assert _name(names, "10.0.4.12", 1000 + kept - 1) == "db.example.com"
    assert _name(names, "10.0.4.12", 1000 + kept + 1) is None
    assert len(names) == 0


def test_the_clock_is_the_machines_unless_told(names: Names) -> None:
    """Now is the time of learning and of asking."""
    names.learn(received(message("db.example.com", "10.0.4.12")))
    assert names.name_of(_DB) == ("db.example.com", "udp answer of 10.0.0.2")


def test_what_is_neither_learnt_nor_used_makes_room(names: Names) -> None:
    """The memory is bounded; addresses that are connected to, and those just learnt, stay. Who had to go is counted."""
    for number in range(100):
        names.learn(received(message(f"host{number}.example.com", f"10.1.0.{number}")), 0)
    assert _name(names, "10.1.0.0") == "host0.example.com"
    names.learn(received(message("again.example.com", "10.1.0.1")), 0)
    names.learn(received(message("new.example.com", *(f"10.2.0.{number}" for number in range(50)))), 0)
    assert (len(names), names.forgotten) == (100, 50)
    assert _name(names, "10.1.0.0") == "host0.example.com"
    assert _name(names, "10.1.0.1") == "again.example.com"
    assert _name(names, "10.1.0.2") is None
    assert _name(names, "10.2.0.49") == "new.example.com"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    most=st.integers(1, 5),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3)), max_size=60),
)
def test_what_is_remembered_is_what_was_last_learnt(
    tmp_path: Path, most: int, steps: list[tuple[bool, int, int]]
) -> None:
    """Against a list that holds everything in the order of its last use, whatever the order of learning and asking."""
    names = Names(most, Resolvers(configure(tmp_path / "resolv.conf", RESOLVER)))
    model: list[tuple[str, str]] = []
    for learn, host, name in steps:
        address = f"10.0.0.{host}"
        known = dict(model).get(address)
        expected = f"name{name}.example.com" if learn else known
        if learn:
            names.learn(received(message(f"name{name}.example.com", address)), 0)
        else:
            assert _name(names, address) == known
        if expected:
            model = [*(each for each in model if each[0] != address), (address, expected)][-most:]
    assert len(names) == len(model)
    assert {address: _name(names, address) for address, _ in model} == dict(model)


@pytest.mark.parametrize(
    ("payload", "circumstances", "counted"),
    [
        (message("gone.example.com", rcode="NXDOMAIN"), {}, Reading.WITHOUT_ADDRESS),
        (b"\0\7\x01\0\0\1\0\0\0\0\0\0\3foo\0\0\1\0\1", {}, Reading.NOT_AN_ANSWER),
        (b"\0\7\x81\x80\0\1\0\0\0\0\0\0\x3ffoo", {}, Reading.MALFORMED),
        (b"\0\7\x81\x80\0\1\0\0\0\0\0\0\x3ffoo", {"length": 90}, Reading.CUT),
        (b"\0\x2a", {"tcp": True}, Reading.CUT),
        (message("db.example.com", "10.0.4.12")[:-20], {}, Reading.MALFORMED),
        (message("evil.example.com", "10.0.4.12"), {"server": "198.51.100.66", "uid": 1000}, Refusal.SERVER),
        (message("evil.example.com", "10.0.4.12"), {"uid": 1000, "host_network": False}, Refusal.NAMESPACE),
        (message("evil.example.com", "10.0.4.12"), {"uid": 1000, "tcp": True}, Refusal.STREAM),
    ],
)
def test_what_teaches_nothing_is_counted_with_its_reason(
    names: Names, payload: bytes, circumstances: dict[str, Any], counted: Reading | Refusal
) -> None:
    """Nothing vanishes, and no name is learnt."""
    names.learn(received(payload, **circumstances), 0)
    assert names.counted == {counted: 1}
    assert names.name_of(_DB, 0) is None
    assert names.unread == (1 if counted in {Reading.MALFORMED, Reading.CUT} else 0)


def test_an_answer_cut_short_teaches_what_is_whole(names: Names) -> None:
    """The kernel keeps the first bytes of what was received: addresses in them are learnt, and the cut is counted."""
    addresses = [f"10.3.0.{number}" for number in range(90)]
    wire = message("many.example.com", *addresses)
    names.learn(received(wire[:1024], length=len(wire)), 0)
    learnt = [address for address in addresses if _name(names, address)]
    assert learnt == addresses[: len(learnt)]
    assert 50 < len(learnt) < 90
    assert names.counted == {Reading.CUT: 1}
    assert names.unread == 1


def test_over_tcp_every_message_teaches(names: Names) -> None:
    """Two answers received at once, each behind its length, are two answers."""
    answers = [message("one.example.com", "10.0.0.11"), message("two.example.com", "10.0.0.12")]
    stream = b"".join(len(each).to_bytes(2, "big") + each for each in answers)
    names.learn(received(stream, tcp=True), 0)
    assert (_name(names, "10.0.0.11"), _name(names, "10.0.0.12")) == ("one.example.com", "two.example.com")
    assert names.counted == {Reading.LEARNT: 2}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.binary(max_size=1024), length=st.integers(0, 4096), tcp=st.booleans(), uid=st.integers(0, 2**32 - 1))
def test_no_answer_brings_the_collector_down(names: Names, payload: bytes, length: int, tcp: bool, uid: int) -> None:
    """Whatever it holds, something of it is counted, and nothing is raised."""
    before = names.counted.total()
    names.learn(received(payload, length=length, tcp=tcp, uid=uid))
    assert names.counted.total() > before
