"""Reading DNS messages, whoever wrote them."""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import ip_address

import dns.name
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.collector.dns_message import Answer, MalformedError, NotAnAnswerError, messages, read
from tests.dns_answers import message

_REAL = (
    message("db.example.com", "10.0.4.12"),
    message("www.example.com", "203.0.113.1", "203.0.113.2", aliases=("cdn.example.net", "edge.cdn.example.net")),
    message("six.example.com", *(f"2001:db8::{n:x}" for n in range(1, 30)), kind="AAAA"),
    message("gone.example.com", rcode="NXDOMAIN"),
)
_LABELS = st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=8).filter(
    lambda labels: sum(len(label) + 1 for label in labels) < 255
)


def _addresses(answer: Answer) -> list[str]:
    return [str(ip_address(address)) for address in answer.addresses]


def test_all_addresses_belong_to_the_name_that_was_asked_for() -> None:
    """Not to the alias that has them."""
    answer = read(
        message("www.example.com", "203.0.113.1", "2001:db8::1", aliases=("cdn.example.net", "edge.cdn.example.net"))
    )
    assert (answer.name, _addresses(answer), answer.whole) == ("www.example.com", ["203.0.113.1", "2001:db8::1"], True)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("WWW.Example.COM.", "www.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_ldap._tcp.example.com", "_ldap._tcp.example.com"),
        (dns.name.Name([b"a.b", b"c\x1b[2J\n", b"\xff", b""]), "a\\.b.c\\027[2j\\010.\\255"),
    ],
)
def test_names_are_shown_in_one_form(asked: str, shown: str) -> None:
    """Lower case, without the final dot, punycode as it is, and what could do harm written out."""
    assert read(message(asked, "10.0.0.1")).name == shown


@given(_LABELS)
def test_no_name_can_harm_who_looks_at_it(labels: list[bytes]) -> None:
    """However its labels were chosen: printable, one line, at most 253 characters, and its end is kept."""
    name = dns.name.Name([*labels, b""])
    shown = read(message(name, "10.0.0.1")).name
    assert shown.isprintable()
    assert shown == shown.lower()
    assert 0 < len(shown) <= 253
    assert name.to_text(omit_final_dot=True).lower().endswith(shown.removeprefix("…"))


def test_an_ipv4_address_in_disguise_is_that_address() -> None:
    """A mapped address in an AAAA record is held as what it is."""
    assert _addresses(read(message("old.example.com", "::ffff:10.0.0.7", kind="AAAA"))) == ["10.0.0.7"]


@pytest.mark.parametrize(("given_ttl", "ttl"), [(0, 0), (300, 300), (2**31 - 1, 2**31 - 1)])
def test_the_ttl_is_the_records(given_ttl: int, ttl: int) -> None:
    """In seconds."""
    assert read(message("a.example.com", "10.0.0.1", ttl=given_ttl)).ttl == ttl


def test_a_ttl_out_of_range_counts_as_none() -> None:
    """With its highest bit set it is 0."""
    wire = message("a.example.com", "10.0.0.1", ttl=0x01020304).replace(b"\x01\x02\x03\x04", b"\xff\xff\xff\xff")
    assert read(wire).ttl == 0


@pytest.mark.parametrize(
    "wire",
    [
        message("gone.example.com", "10.0.0.1", rcode="NXDOMAIN"),
        message("broken.example.com", "10.0.0.1", rcode="SERVFAIL"),
        message("none.example.com"),
        message("4.3.2.10.in-addr.arpa", kind="PTR"),
    ],
)
def test_an_answer_can_be_without_an_address(wire: bytes) -> None:
    """Then it names nothing; what a failure holds is not an answer."""
    answer = read(wire)
    assert (answer.addresses, answer.whole) == ((), True)


@pytest.mark.parametrize(
    "change",
    [
        {2: 0x01, 3: 0x00},  # a query
        {2: 0xA8},  # an answer to an update
        {5: 0x00},  # no question: multicast DNS
        {5: 0x02},  # two
    ],
)
def test_only_answers_to_one_question_are_read(change: dict[int, int]) -> None:
    """Anything else says nothing about a name."""
    wire = bytearray(_REAL[0])
    for place, value in change.items():
        wire[place] = value
    with pytest.raises(NotAnAnswerError):
        read(bytes(wire))


@given(st.sampled_from(_REAL), st.data())
def test_of_an_answer_cut_short_what_is_whole_is_read(wire: bytes, data: st.DataObject) -> None:
    """Wherever it is cut: the first of its addresses, none other, and no pretence that these are all."""
    whole = read(wire)
    cut = wire[: data.draw(st.integers(0, len(wire)))]
    try:
        answer = read(cut)
    except MalformedError:
        return
    assert answer.name == whole.name
    assert answer.addresses == whole.addresses[: len(answer.addresses)]
    assert not answer.whole or answer.addresses == whole.addresses


@given(st.binary(max_size=1024))
@example(b"")
@example(bytes(12))
@example(b"\0\0\x80\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")  # a name that is itself
@example(b"\0\0\x80\0\0\1\0\0\0\0\0\0\xc0\x0e\xc0\x0c\0\1\0\1")  # two that are each other
@example(b"\0\0\x80\0\0\1\0\0\0\0\0\0\xc0\xff\0\1\0\1")  # one that is past the end
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """Nothing else is raised."""
    for each in (payload, *messages(payload, tcp=True)):
        with suppress(MalformedError, NotAnAnswerError):
            read(each)


@given(
    st.sampled_from(_REAL),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_damaged_answer_is_read_or_refused(wire: bytes, damage: list[tuple[float, int]]) -> None:
    """Wherever its bytes were changed; what is read are addresses and a name to look at."""
    damaged = bytearray(wire)
    for place, value in damage:
        damaged[int(place * len(wire))] = value
    try:
        answer = read(bytes(damaged))
    except (MalformedError, NotAnAnswerError):
        return
    assert {len(address) for address in answer.addresses} <= {4, 16}
    assert answer.name.isprintable()
    assert len(answer.name) <= 253
    assert 0 <= answer.ttl < 2**31


def test_the_work_is_bounded_by_the_length() -> None:
    """A thousand bytes that all point to the longest name do not hold the collector up."""
    question = b"\x01x" * 126 + b"\0"
    head = b"\0\7\x81\x80\0\1\xff\xff\0\0\0\0" + question + b"\0\1\0\1"
    record = b"\x01a\xc0\x0c\0\1\0\1\0\0\1\0\0\4\x0a\0\0\1"
    wire = (head + record * 60)[:1024]
    # Of the processor's time: others may have it in between.
    start = time.process_time()
    for _ in range(20):
        assert read(wire).addresses == (b"\x0a\0\0\1",)
    assert time.process_time() - start < 1.0, "20 such messages take 3 ms"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_over_tcp_each_message_has_its_length_before_it(count: int) -> None:
    """All messages that were received at once are found, with the two bytes or, if these were read before, without."""
    sent = [message(f"host{number}.example.com", "10.0.0.1") for number in range(count)]
    stream = b"".join(len(each).to_bytes(2, "big") + each for each in sent)
    assert list(messages(stream, tcp=True)) == sent
    assert list(messages(sent[0], tcp=True)) == sent[:1]


@given(st.sampled_from(_REAL), st.integers(0, 0xFFFF))
def test_the_number_of_a_query_is_not_taken_for_a_length(wire: bytes, number: int) -> None:
    """With or without its length, over TCP or UDP, the same message is read."""
    numbered = number.to_bytes(2, "big") + wire[2:]
    assert list(messages(numbered, tcp=False)) == [numbered]
    assert list(messages(numbered, tcp=True)) == [numbered]
    assert list(messages(len(numbered).to_bytes(2, "big") + numbered, tcp=True)) == [numbered]
