"""Of a network's log one host's snapshots are made, in the order of time."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from detector.collector import zeek_host
from detector.collector.log_lines import Tally
from detector.collector.zeek import Connection
from detector.collector.zeek_host import HostLog, of_networks
from detector.domain import ConnectionCount, Direction, Protocol
from tests.collector.logs import BEGIN, HOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector.domain import Snapshot

_OTHER = "198.51.100.7"


def _connection(at: float = 0, orig: str = HOST, resp: str = _OTHER, port: int = 443, **more: Any) -> Connection:
    usual = Connection(BEGIN + at, "tcp", orig, resp, port, "SF", "ShADa")
    return usual._replace(**more)


def _snapshots(
    connections: Iterable[Connection], tally: Tally | None = None, seconds: int = 60, *networks: str, **more: Any
) -> list[Snapshot]:
    own = of_networks([ip_network(network) for network in networks or (HOST,)])
    log = HostLog(connections, tally or Tally(), host="web-1", own=own, interval_seconds=seconds, **more)
    given = list(log.snapshots())
    assert log.waiting == 0
    return [each.snapshot for each in given]


def _told(count: ConnectionCount) -> tuple[Any, ...]:
    key = count.key
    numbers = (count.attempted, count.established, count.refused, count.timed_out, count.failed)
    return key.direction.value, key.protocol.value, str(key.remote_address), key.remote_port, key.local_port, numbers


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        (_connection(), ("outbound", "tcp", _OTHER, 443, None, (1, 1, 0, 0, 0))),
        (_connection(state="REJ", history="Sr"), ("outbound", "tcp", _OTHER, 443, None, (1, 0, 1, 0, 0))),
        (_connection(state="S0", history="S"), ("outbound", "tcp", _OTHER, 443, None, (1, 0, 0, 1, 0))),
        (_connection(state="SH", history="SF"), ("outbound", "tcp", _OTHER, 443, None, (1, 0, 0, 0, 1))),
        (_connection(orig=_OTHER, resp=HOST, port=22), ("inbound", "tcp", _OTHER, None, 22, (1, 1, 0, 0, 0))),
        (
            _connection(protocol="udp", port=53, state="S0", history="D"),
            ("outbound", "udp", _OTHER, 53, None, (1, 0, 0, 0, 0)),
        ),
        (
            _connection(orig=_OTHER, resp=HOST, protocol="udp", port=53, state="SF"),
            ("inbound", "udp", _OTHER, None, 53, (1, 0, 0, 0, 0)),
        ),
        (
            _connection(protocol="icmp", port=0, state="OTH", history=""),
            ("outbound", "icmp", _OTHER, None, None, (1, 0, 0, 0, 0)),
        ),
    ],
)
def test_a_row_is_one_connect_or_flow(connection: Connection, told: tuple[Any, ...]) -> None:
    """Direction is which end the host is; outcomes are TCP's alone; ICMP has no ports."""
    (snapshot,) = _snapshots([connection])

    assert [_told(each) for each in snapshot.counts] == [told]


def test_what_is_unknown_stays_unknown() -> None:
    """A log of the network knows no users and no programs."""
    ((count,),) = [each.counts for each in _snapshots([_connection()])]

    assert count == ConnectionCount(key=count.key, attempted=1, established=1)
    assert {count.key.user, count.key.executable, count.key.unit, count.key.command} == {None}


def test_what_is_no_part_of_a_snapshot_is_counted_by_its_reason() -> None:
    """Nothing vanishes."""
    tally = Tally()
    rows = [
        _connection(),
        _connection(orig="10.0.4.13"),
        _connection(orig="10.0.4.13"),
        _connection(state="OTH", history="Dd"),
        _connection(orig=_OTHER, resp=HOST, state="REJ", history="Sr"),
        _connection(protocol="unknown_transport"),
    ]

    assert len(_snapshots(rows, tally)) == 1
    assert tally.left_out == {
        zeek_host.NOT_OF_HOST: 2,
        zeek_host.NO_OPEN: 1,
        zeek_host.NOT_ACCEPTED: 1,
        zeek_host.OTHER_PROTOCOL: 1,
    }


def test_a_connection_of_the_host_with_itself_is_seen_from_both_ends() -> None:
    """As live capture sees it; where it was refused there is no end that accepted."""
    both = _snapshots([_connection(resp="10.0.4.13")], None, 60, "10.0.4.0/24")
    refused = _snapshots([_connection(resp="10.0.4.13", state="REJ", history="Sr")], None, 60, "10.0.4.0/24")

    assert [[_told(each)[0] for each in snapshot.counts] for (snapshot,) in (both, refused)] == [
        ["outbound", "inbound"],
        ["outbound"],
    ]


def test_networks_may_be_of_both_kinds() -> None:
    """IPv4 and IPv6 in any number."""
    inside = of_networks([ip_network("10.0.4.0/24"), ip_network("fd00::/8")])

    assert [inside(each) for each in ("10.0.4.255", "fd00::1", "10.0.5.0", "2001:db8::1")] == [True, True, False, False]


def test_intervals_follow_one_another() -> None:
    """From the first to the last, on whole multiples of their length; those in which nothing happened as well."""
    snapshots = _snapshots([_connection(59.9), _connection(60), _connection(200)])

    begin = datetime.fromtimestamp(BEGIN, UTC)
    assert [(each.start - begin).total_seconds() for each in snapshots] == [0, 60, 120, 180]
    assert {each.end - each.start for each in snapshots} == {timedelta(seconds=60)}
    assert [len(each.counts) for each in snapshots] == [1, 1, 0, 1]
    assert {each.host for each in snapshots} == {"web-1"}


def test_a_long_silence_is_a_gap() -> None:
    """Up to a day nothing happened; in more nobody watched."""
    day = 86_400
    assert len(_snapshots([_connection(), _connection(day)], seconds=3600)) == 25
    assert len(_snapshots([_connection(), _connection(day + 7200)], seconds=3600)) == 2


def test_any_order_gives_the_same_snapshots() -> None:
    """Zeek writes a connection when it ends: the log is in no order."""
    rows = [_connection(10 * at, port=at % 7, state="S0" if at % 3 else "SF") for at in range(600)]
    expected = _snapshots(rows)
    random.Random(1).shuffle(rows)

    shuffled = _snapshots(rows)

    assert [(each.start, set(each.counts)) for each in shuffled] == [
        (each.start, set(each.counts)) for each in expected
    ]


def test_what_is_too_late_is_counted() -> None:
    """With room for ten keys and intervals the oldest are given out; what comes for them later is left out."""
    tally = Tally()
    rows = [_connection(60 * at) for at in (*range(20), 1, 19, 3)]

    snapshots = _snapshots(rows, tally, room=10)

    assert [each.start for each in snapshots] == sorted(each.start for each in snapshots)
    assert len(snapshots) == 20
    assert tally.left_out == {zeek_host.LATE: 2}
    assert sum(count.attempted for each in snapshots for count in each.counts) == 21


def test_too_many_keys_of_one_interval_are_folded() -> None:
    """As in live capture: counted, without address and port, and said to be so."""
    rows = [_connection(port=port, state="REJ", history="Sr") for port in range(1, 101)]

    (snapshot,) = _snapshots([*rows, rows[0]], room=11)

    folded = [count for count in snapshot.counts if count.key.remote_address is None]
    assert [(count.attempted, count.refused, count.key.remote_port) for count in folded] == [(90, 90, None)]
    assert snapshot.losses.folded == 180
    assert sum(count.attempted for count in snapshot.counts) == 101


def test_no_count_is_lost_or_doubled() -> None:
    """Over random rows each key's numbers are those of a plain count of the rows."""
    random_ = random.Random(7)
    ends = [HOST, _OTHER, "10.0.4.13", "2001:db8::7"]
    rows = [
        _connection(random_.random() * 3600, random_.choice(ends), random_.choice(ends), random_.randrange(3))
        for _ in range(5000)
    ]

    counted: Counter[tuple[Any, ...]] = Counter()
    for snapshot in _snapshots(rows):
        for count in snapshot.counts:
            port = count.key.remote_port if count.key.direction is Direction.OUTBOUND else count.key.local_port
            counted[snapshot.start.timestamp(), count.key.direction, count.key.remote_address, port] += count.attempted

    expected: Counter[tuple[Any, ...]] = Counter()
    for each in rows:
        start = each.at // 60 * 60
        if each.orig == HOST:
            expected[start, Direction.OUTBOUND, ip_address(each.resp), each.port] += 1
        if each.resp == HOST:
            expected[start, Direction.INBOUND, ip_address(each.orig), each.port] += 1
    assert counted == expected
    assert {Protocol.TCP} == {count.key.protocol for each in _snapshots(rows) for count in each.counts}
