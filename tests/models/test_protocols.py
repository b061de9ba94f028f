"""What is not TCP, and what has no address or port, is judged like everything else."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.config import Models
from detector.domain import Protocol
from detector.models import explain
from detector.models.endpoints import UNKNOWN, place
from detector.models.features import FEATURES
from detector.models.judgement import Moment, look
from detector.models.novelty import Novelty
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from tests.builders import count, read_counts
from tests.examples import examples
from tests.models.conftest import Watched, arranged

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from detector.domain import ConnectionCount
    from detector.models.endpoints import Endpoint


def _endpoint(**values: Any) -> Endpoint:
    return arranged(count(**values)).endpoints[0]


def test_an_unknown_address_is_a_place_of_its_own() -> None:
    """It is like no address, neither in its network nor in its kind."""
    unknown = place(None)

    assert (unknown.packed, unknown.network, unknown.address_class) == (b"", b"", UNKNOWN)


def test_flows_and_connects_add_up() -> None:
    """What goes to one address and port is one endpoint, whatever it travels by; a flow counts as a connect does."""
    rows = arranged(
        count("10.0.0.2", 53, attempted=3, established=3),
        count("10.0.0.2", 53, protocol="udp", attempted=40, failed=2),
        count("10.0.0.2", 53, protocol="sctp", attempted=2, refused=2),
        count("10.0.0.2", 443, protocol="udp", attempted=7),
    )

    assert rows.endpoint_of.tolist() == [0, 0, 0, 1]
    assert rows.connects.tolist() == [45, 7]
    assert [each.what for each in rows.endpoints] == ["connects and flows", "flows"]


def test_without_a_port_the_protocol_stands_for_it() -> None:
    """Pings of a host, raw packets to it and connects to it are apart; so is what has no address."""
    rows = arranged(
        count("10.0.0.2", None, protocol="icmp"),
        count("10.0.0.2", None, protocol="raw"),
        count("10.0.0.2", 22),
        count(None, None, protocol="packet"),
        count(None, None, protocol="packet", user="root"),
        count(None, None),
        count(None, None, direction="inbound"),
    )

    assert rows.endpoint_of.tolist() == [0, 1, 2, 3, 3, 4, 5]
    assert [each.service for each in rows.endpoints] == ["icmp", "raw", "port 22", "packet", "tcp", "tcp"]


def test_inbound_flows_count() -> None:
    """What has no connections has none accepted: coming in, its flows are counted."""
    inbound = [count(direction="inbound", protocol=each, attempted=9, established=4) for each in ("tcp", "udp")]

    assert [arranged(each).connects.tolist() for each in inbound] == [[4], [9]]


@pytest.mark.parametrize(
    ("values", "beginning"),
    [
        (
            {"address": None, "port": None, "protocol": "packet"},
            {
                Novelty.DESTINATION: "first contact with an unknown address; this host meets a new destination on "
                "packet in about 1 hour of 100",
                Novelty.ADDRESS_CLASS: "first contact with an address of this kind, an unknown address; this host",
                Novelty.PORT: "first contact with packet of any destination, here an unknown address; this host uses a "
                "new protocol of this kind",
            },
        ),
        (
            {"address": "10.0.0.2", "port": None, "protocol": "icmp"},
            {
                Novelty.PAIR: "first contact with icmp of 10.0.0.2, a known destination; this host begins to use icmp ",
                Novelty.COMMON_PORT: "first contact with icmp of any destination, here 10.0.0.2; this host uses a new ",
            },
        ),
        (
            {"address": "10.0.0.2", "port": 53, "protocol": "udp"},
            {
                Novelty.PORT: "first contact with port 53 of any destination, here 10.0.0.2; this host uses a new port "
                "of this kind"
            },
        ),
    ],
)
def test_sentences(values: dict[str, Any], beginning: dict[Novelty, str]) -> None:
    """No sentence has a None or a port that is none in it."""
    endpoint = _endpoint(**values)

    for novelty in Novelty:
        sentence = explain.first_contact(endpoint, novelty, 2.0)
        assert sentence.startswith(beginning.get(novelty, "first contact with "))
        assert "None" not in sentence
        assert "port 0" not in sentence
    assert "None" not in explain.still_new(endpoint, 5400)


def test_volume_is_told_in_its_own_words() -> None:
    """Connects are connects, flows are flows."""

    def told(*counts: ConnectionCount) -> str:
        return explain.volume(
            arranged(*counts).endpoints[0], connects=312, usual=math.log1p(3), period_seconds=10, young=False
        )

    udp, tcp = count("10.0.0.2", 53, protocol="udp"), count("10.0.0.2", 53)
    assert told(udp) == "312 flows to 10.0.0.2 port 53 within 10 s, where it usually makes 3"
    assert told(udp, tcp).startswith("312 connects and flows to 10.0.0.2 port 53 within")
    assert told(count(None, None)).startswith("312 connects to an unknown address tcp within")
    assert told(count(None, None, direction="inbound")).startswith(
        "312 inbound connections from an unknown address to tcp within"
    )
    assert told(count("10.0.0.2", 53, direction="inbound", protocol="udp")).startswith(
        "312 inbound flows from the network of 10.0.0.2 to port 53 within"
    )


@pytest.mark.parametrize(
    ("values", "novelty"),
    [
        ({"protocol": "icmp", "port": None}, "common_port"),
        ({"protocol": "raw", "port": None}, "port"),
        ({"address": None, "protocol": "packet", "port": None}, "port"),
        ({"address": None, "port": None}, "port"),
        ({"address": None}, "address_class"),
        ({"address": "10.0.4.99", "protocol": "udp"}, "destination_in_known_network"),
        ({"address": "10.0.4.12", "port": 4444, "protocol": "udp"}, "port"),
        ({"address": "10.0.4.12", "protocol": "udp"}, None),
    ],
)
def test_what_is_new_is_named(quiet: Watched, values: dict[str, Any], novelty: str | None) -> None:
    """A first ping is an event that any host may see, raw packets are not; UDP to a known address and port is known."""
    (observed,) = quiet.would_say(count(**values))

    assert observed.novelty == novelty
    assert observed.score is not None
    assert (observed.score > 0.89) == (novelty is not None)


def test_an_unknown_address_becomes_known(quiet: Watched) -> None:
    """Frames that a program sends every hour are strange once, and usual a day later, unless they are suspicious."""
    quiet.settings = Models(train_every_hours=720, false_alerts_per_day=1e-3)
    quiet.restart()
    frames = count(None, None, protocol="packet", executable="/usr/sbin/lldpd", user="root", login_user=None)
    (first,) = quiet.snapshot(frames)
    for hour in range(24):
        quiet.snapshot(*[frames] * (hour % 2))
        for _ in range(11):
            quiet.snapshot()
    (later,) = quiet.would_say(frames)

    assert first.novelty == "port"
    assert later.novelty is None
    assert first.surprise is not None
    assert later.surprise is not None
    assert first.surprise > 2
    assert later.surprise < first.surprise / 2


def test_a_burst_of_flows_is_strange(quiet: Watched) -> None:
    """Twenty thousand flows to a usual address and port are seen by their number, and called flows."""
    (observed,) = quiet.would_say(count("10.0.4.12", 22, protocol="udp", attempted=20_000))

    assert observed.channel in ("volume", "host_volume")
    assert observed.explanation is not None
    assert re.match(r"20,0\d\d (flows to|connects and flows of the whole host)", observed.explanation)


def test_failures_are_a_share_of_flows(quiet: Watched) -> None:
    """Flows have no end: those whose sends did not fail are the others, however many sends failed in one."""
    counts = [
        count(port=1, protocol="udp", attempted=4),
        count(port=2, protocol="udp", attempted=4, failed=1),
        count(port=3, protocol="icmp", attempted=1, failed=900),
        count(port=4, attempted=4, established=3, refused=1),
        count(port=5, attempted=4),
    ]
    matrix = _matrix(quiet, counts)

    assert matrix[:, FEATURES.index("failed_share")].tolist() == [0.0, 0.25, 1.0, 0.25, 0.0]


def _matrix(watched: Watched, counts: list[ConnectionCount]) -> npt.NDArray[np.float32]:
    watched.snapshot()
    ref = watched.recorder.snapshot(*counts)
    moment = Moment(start_seconds=86_400.0, duration_seconds=300.0, learning=watched.learning)
    with writing(watched.engine) as connection:
        return look(connection, ref, read_counts(connection, ref), moment).matrix


_any_count = st.builds(
    count,
    address=st.sampled_from([None, "10.0.0.2", "203.0.113.7", "fd00::1", "127.0.0.1"]),
    port=st.sampled_from([None, 0, 22, 53, 65_535]),
    protocol=st.sampled_from(Protocol),
    direction=st.sampled_from(["outbound", "inbound"]),
    executable=st.sampled_from([None, "/usr/bin/nc", "/usr/bin/nc (deleted)"]),
    script=st.sampled_from([None, "/opt/a.py"]),
    user=st.sampled_from([None, "root", "0"]),
    login_user=st.sampled_from([None, "alice"]),
    attempted=st.sampled_from([0, 1, 3, 200_000]),
    established=st.sampled_from([0, 1, 5]),
    failed=st.sampled_from([0, 7]),
)


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(series=st.lists(st.lists(_any_count, max_size=6), min_size=1, max_size=5))
def test_everything_has_a_score(tmp_path_factory: pytest.TempPathFactory, series: list[list[ConnectionCount]]) -> None:
    """Whatever a kernel shows or hides of whatever protocol: each row has a score from 0 to 1, and words if strange."""
    path: Path = tmp_path_factory.mktemp("protocols") / "detector.db"
    engine = open_store(f"sqlite:///{path}")
    upgrade(engine)
    watched = Watched(engine, Models(burn_in_hours=0, train_every_hours=0.05, train_rows=64))
    for counts in series:
        observed = watched.snapshot(*counts)
        assert len(observed) == len({each.key for each in counts})
        for each in observed:
            assert each.score is not None
            assert 0 <= each.score <= 1
            assert each.surprise is not None
            assert math.isfinite(each.surprise)
            assert "None" not in (each.explanation or "")
    engine.dispose()
