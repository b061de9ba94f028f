"""Questions to the past, the same on both databases."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, update

from detector.domain import CHANNELS, Direction, Outcome, Protocol, Severity
from detector.store import history, rollups
from detector.store.engine import open_store, reading, writing
from detector.store.filters import HistoryFilter, known_hosts
from detector.store.findings import Decision, decisions, rule_hits
from detector.store.history import Page, find
from detector.store.tables import alerts, detection_cursors, findings
from tests.builders import START, Recorder, count, observe
from tests.examples import examples

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from detector.domain import SnapshotRef

_SECOND = timedelta(seconds=1)


def _find(engine: Engine, limit: int = 100, **wanted: Any) -> Page:
    with reading(engine) as connection:
        return find(connection, HistoryFilter(**wanted), limit)


def _ports(page: Page) -> list[Any]:
    return [row["remote_port"] or row["local_port"] for row in page.rows]


def test_rows_have_everything_that_is_known(engine: Engine) -> None:
    """A row names host, period, key, counts and what the models said."""
    recorder = Recorder(engine)
    learnt: dict[str, Any] = {
        "login_address": ip_address("203.0.113.7"),
        "login_source": "logind",
        "remote_name": "db.example.org",
        "remote_name_source": "udp answer of 10.0.0.2",
        "remote_country": "NL",
        "remote_network": "Example B.V.",
    }
    recorder.snapshot(count())
    ref = recorder.snapshot(
        count(attempted=3, refused=2, established=1, handshake_us_total=900, handshake_us_max=900, session=4, **learnt)
    )
    said = {
        "score": 0.99,
        "surprise": 2.0,
        "unusual": True,
        "channel": "novelty",
        "novelty": "port",
        **{f"p_{name}": (1.0, 0.5, 0.25)[place % 3] for place, name in enumerate(CHANNELS)},
        "explanation": "alice never used this port",
    }
    observe(engine, ref, {1: said})

    row = dict(_find(engine).rows[-1])

    assert row == {
        "host": "bastion-1",
        "host_id": ref.host_id,
        "seq": 2,
        "resolution": "snapshot",
        "snapshots": 1,
        "start": ref.start,
        "end": ref.end,
        "key_id": 1,
        "session": 4,
        "direction": "outbound",
        "protocol": "tcp",
        "executable": "/usr/bin/ssh",
        "script": None,
        "parent_executable": None,
        "command": "ssh",
        "user": "alice",
        "login_user": "alice",
        "unit": "user-1000.slice",
        "container": None,
        "remote_address": ip_address("10.0.4.12"),
        "remote_port": 22,
        "local_port": None,
        "first_seen": START,
        "attempted": 3,
        "established": 1,
        "refused": 2,
        "timed_out": 0,
        "failed": 0,
        "handshake_us_total": 900,
        "handshake_us_max": 900,
        **learnt,
        **said,
    }


def test_rows_that_detection_has_not_seen_are_there(engine: Engine) -> None:
    """What was collected is found at once; its scores are unknown."""
    Recorder(engine).snapshot(count())

    (row,) = _find(engine).rows

    assert row["score"] is None
    assert row["explanation"] is None


def test_an_empty_store_has_no_rows(engine: Engine) -> None:
    """Before the first snapshot there is nothing to find, and that is no fault."""
    assert _find(engine) == Page(rows=(), total_more=0)


_LOGIN: dict[str, Any] = {"login_address": "203.0.113.7", "login_source": "logind"}
_CRITERIA: list[tuple[dict[str, Any], list[int | None]]] = [
    ({"user": "root"}, [2]),
    ({"login_user": "alice"}, [1, 2, 5]),
    ({"login_user": "*"}, [1, 2, 3, 5]),
    ({"executable": "/usr/bin/nc"}, [3]),
    ({"executable": "*/nc"}, [3]),
    ({"executable": "/usr/bin/??"}, [3]),
    ({"executable": "*"}, [1, 2, 3, 5]),
    ({"executable": "*/NC"}, []),
    ({"user": ""}, []),
    ({"direction": Direction.INBOUND}, [4]),
    ({"outcome": Outcome.REFUSED}, [3]),
    ({"outcome": Outcome.TIMED_OUT}, [5]),
    ({"outcome": Outcome.FAILED}, []),
    ({"ports": (range(4, 5),)}, [4]),
    ({"ports": (range(1, 3), range(5, 6))}, [1, 2, 5]),
    ({"remote_addresses": ip_network("10.0.4.12")}, [1, 2]),
    ({"remote_addresses": ip_network("10.0.0.0/8")}, [1, 2, 3, 4]),
    ({"remote_addresses": ip_network("0.0.0.0/0")}, [1, 2, 3, 4, 6]),
    ({"remote_addresses": ip_network("fd00::/8")}, [5]),
    ({"remote_addresses": ip_network("::/0")}, [5]),
    ({"remote_addresses": ip_network("::ffff:10.0.0.0/104")}, [1, 2, 3, 4]),
    ({"min_score": 0.9}, [2]),
    ({"min_score": 0.5}, [1, 2]),
    ({"min_score": 0.0}, [1, 2]),
    ({"login_user": "alice", "executable": "*/ssh", "remote_addresses": ip_network("10.0.4.0/24")}, [1, 2]),
    ({"user": "root", "direction": Direction.INBOUND}, []),
    ({"host": "bastion-1"}, [1, 2, 3, 4, 5, 6, None]),
    ({"host": "bastion-?"}, [1, 2, 3, 4, 5, 6, None]),
    ({"login_addresses": ip_network("203.0.113.7")}, [2, 6]),
    ({"login_addresses": ip_network("0.0.0.0/0")}, [2, 6]),
    ({"login_addresses": ip_network("203.0.113.0/29"), "user": "root"}, [2]),
    ({"login_addresses": ip_network("10.0.4.12")}, []),
    ({"parent_executable": "*/sudo"}, [2]),
    ({"remote_name": "DB.example.*"}, [2, 5]),
    ({"remote_name": "db.example.org"}, [2]),
    ({"remote_name": "*"}, [2, 5]),
    ({"remote_name": "other.*"}, []),
    ({"remote_name": "*.org", "login_addresses": ip_network("203.0.113.7"), "min_score": 0.9}, [2]),
    ({"protocol": Protocol.UDP}, [6]),
    ({"protocol": Protocol.PACKET}, [None]),
    ({"protocol": Protocol.SCTP}, []),
    ({"host": "web-*"}, []),
]


def test_each_criterion_narrows(engine: Engine) -> None:
    """Only rows that satisfy all criteria are found."""
    ref = Recorder(engine).snapshot(
        count("10.0.4.12", 1),
        count("10.0.4.12", 2, user="root", parent_executable="/usr/bin/sudo", remote_name="db.example.ORG", **_LOGIN),
        count("10.0.5.1", 3, executable="/usr/bin/nc", user="bob", login_user="bob", attempted=5, refused=5),
        count("10.0.4.9", 4, direction="inbound", executable=None, user=None, login_user=None),
        count("fd00::1", 5, attempted=1, timed_out=1, remote_name="db.example.net", remote_country="NL"),
        count("192.0.2.1", 6, protocol="udp", executable=None, login_user=None, **_LOGIN),
        count(None, None, protocol="packet", executable=None, login_user=None),
    )
    observe(engine, ref, {1: {"score": 0.5}, 2: {"score": 0.9}})

    found = [(wanted, _find(engine, **wanted)) for wanted, _ in _CRITERIA]

    assert [(wanted, _ports(page)) for wanted, page in found] == _CRITERIA
    assert {page.total_more for _, page in found} == {0}


def test_a_period_is_half_open(engine: Engine) -> None:
    """A row belongs to the period in which its snapshot ended, its last moment included."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count(port=port)) for port in (1, 2, 3)]

    assert _ports(_find(engine, since=refs[0].end)) == [2, 3]
    assert _ports(_find(engine, since=refs[0].end - _SECOND)) == [1, 2, 3]
    assert _ports(_find(engine, until=refs[1].end)) == [1, 2]
    assert _ports(_find(engine, since=refs[0].end, until=refs[1].end)) == [2]
    assert _ports(_find(engine, since=refs[2].end)) == []
    assert _ports(_find(engine, until=START)) == []


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(-5, 65), max_size=5).map(sorted))
def test_periods_that_meet_share_no_row(engine: Engine, cuts: list[int]) -> None:
    """However time is cut into periods, each row is found in exactly one of them."""
    with reading(engine) as connection:
        known = known_hosts(connection)
    if not known:
        recorder = Recorder(engine)
        for port in range(1, 7):
            recorder.snapshot(count(port=port), count(port=100 + port))
    moments: list[datetime | None] = [None, *(START + cut * _SECOND for cut in cuts), None]

    pages = [_find(engine, since=since, until=until) for since, until in pairwise(moments)]

    assert sorted(port for page in pages for port in _ports(page)) == sorted([*range(1, 7), *range(101, 107)])


def test_a_clock_set_back_hides_nothing(engine: Engine) -> None:
    """Rows are found by the time that their snapshot bears, also when later ones bear earlier times."""
    recorder = Recorder(engine)
    recorder.snapshot(count(port=1))
    late = recorder.snapshot(count(port=2))
    recorder.now = START - timedelta(hours=1)
    early = recorder.snapshot(count(port=3))

    assert _ports(_find(engine)) == [3, 1, 2]
    assert _ports(_find(engine, until=early.end)) == [3]
    assert _ports(_find(engine, since=early.end)) == [1, 2]
    assert _ports(_find(engine, since=START, until=late.end)) == [1, 2]


def test_the_newest_rows_are_shown_and_the_others_counted(engine: Engine) -> None:
    """Of more rows than asked for, the newest come, oldest first, with the number of those before them."""
    recorder = Recorder(engine)
    for port in range(1, 11):
        recorder.snapshot(count(port=port), count(port=100 + port))

    page = _find(engine, limit=3)

    assert _ports(page) == [109, 10, 110]
    assert page.total_more == 17
    assert _find(engine, limit=3, ports=(range(101, 200),)).total_more == 7
    assert _find(engine, limit=20).total_more == 0


def test_the_newest_of_all_hosts(engine: Engine) -> None:
    """The limit is for all hosts together, and so is the order of time."""
    one, two = Recorder(engine, host="bastion-1"), Recorder(engine, host="bastion-2", now=START + 5 * _SECOND)
    for port in (1, 2, 3):
        one.snapshot(count(port=port))
        two.snapshot(count(port=10 + port))

    page = _find(engine, limit=4)

    assert [(row["host"], row["remote_port"]) for row in page.rows] == [
        ("bastion-1", 2),
        ("bastion-2", 12),
        ("bastion-1", 3),
        ("bastion-2", 13),
    ]
    assert page.total_more == 2
    assert _ports(_find(engine, host="*-2")) == [11, 12, 13]


def test_counting_stops_at_a_number_that_says_enough(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Very many rows are not counted to the last: the number given is then the most that is counted."""
    monkeypatch.setattr(history, "MOST_COUNTED", 5)
    for host in ("bastion-1", "bastion-2", "bastion-3"):
        Recorder(engine, host=host).snapshot(*(count(port=port) for port in range(1, 5)))

    assert _find(engine, limit=8).total_more == 4
    assert _find(engine, limit=7).total_more == 5
    assert _find(engine, limit=1).total_more == 5


_LETTERS = "ab*?[]%_\\^-A\u00e9'"


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_pattern_means_the_same_everywhere(engine: Engine, data: st.DataObject) -> None:
    """`*` is any characters, `?` any one, all else itself: % _ [ ] and \\ too, and case matters."""
    names = ["", "a", "A", "ab", "a*b", "a?b", "a%b", "a_b", "[ab]", "\\a", "a\\", "\u00e9", "a'b", "[^a]", "*"]
    with reading(engine) as connection:
        known = known_hosts(connection)
    if not known:
        Recorder(engine).snapshot(*(count(executable=name) for name in names))
    pattern = data.draw(st.one_of(st.sampled_from(names), st.text(_LETTERS, max_size=4)))

    found = [row["executable"] for row in _find(engine, executable=pattern).rows]

    parts = {"*": ".*", "?": "."}
    oracle = re.compile("".join(parts.get(each, re.escape(each)) for each in pattern), re.DOTALL)
    assert sorted(found) == sorted(name for name in names if oracle.fullmatch(name))


def test_patterns_may_hold_what_no_database_takes(engine: Engine) -> None:
    """A name that was written out when it was stored is found by what it was."""
    Recorder(engine).snapshot(count(executable="/tmp/\udcff"))

    assert len(_find(engine, executable="/tmp/\udcff").rows) == 1
    assert len(_find(engine, executable="*\udcff").rows) == 1
    assert _find(engine, executable="*\x00*").rows == ()


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    network=st.one_of(
        st.ip_addresses(v=4).flatmap(lambda ip: st.integers(0, 32).map(lambda n: IPv4Network((ip, n), strict=False))),
        st.ip_addresses(v=6).flatmap(lambda ip: st.integers(0, 128).map(lambda n: IPv6Network((ip, n), strict=False))),
        st.sampled_from(
            ["10.0.0.0/31", "10.0.0.255/32", "128.0.0.0/1", "::/1", "fd00::/127", "::ffff:0:0/96", "::ffff:0:0/97"]
        ).map(ip_network),
    )
)
def test_a_network_is_its_addresses(engine: Engine, network: IPv4Network | IPv6Network) -> None:
    """Exactly the addresses of a network are found in it, those of its own version alone.

    A network within ::ffff:0:0/96 is one of IPv4 addresses.
    """
    ipv4 = ("0.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.255", "127.0.0.1", "255.255.255.255")
    ipv6 = ("::", "::1", "fd00::", "fd00::1", "fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    addresses = [ip_address(text) for text in (*ipv4, *ipv6)]
    with reading(engine) as connection:
        known = known_hosts(connection)
    if not known:
        Recorder(engine).snapshot(*(count(str(address)) for address in addresses))

    found = {row["remote_address"] for row in _find(engine, remote_addresses=network).rows}

    if isinstance(network, IPv6Network) and network.subnet_of(IPv6Network("::ffff:0:0/96")):
        network = IPv4Network((network.network_address.ipv4_mapped or "", network.prefixlen - 96))
    assert found == {address for address in addresses if address in network}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"since": START + 300 * _SECOND},
        {"since": START + 300 * _SECOND, "until": START + 320 * _SECOND, "user": "alice"},
        {"executable": "*/ssh", "min_score": 0.5, "since": START},
        {"remote_name": "*.org", "login_addresses": ip_network("203.0.113.0/24"), "protocol": Protocol.TCP},
    ],
)
def test_history_is_searched_by_keys(sqlite_url: str, wanted: dict[str, Any]) -> None:
    """Snapshots and roll-ups are found by a span of their primary key, or by their index on time: none is scanned."""
    engine = open_store(sqlite_url)
    recorder = Recorder(engine, interval=timedelta(minutes=10))
    named = count(remote_name="db.example.org", login_address="203.0.113.7", login_source="logind")
    for _ in range(50):
        observe(engine, recorder.snapshot(named), {1: {"score": 0.5}})
    with writing(engine) as connection:
        connection.execute(update(detection_cursors).values(seq=50))
    rollups.advance(engine, 1, now=recorder.now)
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            raw = connection.connection.cursor()
            plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(engine, "before_cursor_execute", explain)
    _find(engine, **wanted)
    engine.dispose()

    assert {step for step in plans if step.startswith("SCAN") and "VIRTUAL TABLE" not in step} == {"SCAN hosts"}
    assert any("snapshots USING PRIMARY KEY (host_id=? AND seq>? AND seq<?)" in step for step in plans)
    assert any("snapshots USING INDEX ix_snapshots_host_id_end (host_id=?" in step for step in plans)
    rolled_up = [step for step in plans if "hourly_counts" in step or "daily_counts" in step]
    assert rolled_up
    assert all("USING PRIMARY KEY (host_id=? AND key_id=?" in step for step in rolled_up)


def test_hosts_are_known_by_number(engine: Engine) -> None:
    """The store's hosts, or those that match a pattern."""
    refs = [Recorder(engine, host=host).snapshot() for host in ("bastion-1", "bastion-2", "Bastion-1")]

    with reading(engine) as connection:
        assert known_hosts(connection) == {ref.host_id: ref.host for ref in refs}
        assert known_hosts(connection, "bastion-*") == {ref.host_id: ref.host for ref in refs[:2]}


def _alert(engine: Engine, ref: SnapshotRef, alert_id: int) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(alerts).values(
                alert_id=alert_id,
                host_id=ref.host_id,
                fingerprint=f"{alert_id:032x}",
                rule_id="scan",
                rule_title="Scan",
                severity=Severity.HIGH,
                group={},
                opened_at=ref.end,
                start=ref.start,
                end=ref.end,
                finding_count=1,
                summary="",
                explanations=[],
                **dict.fromkeys(
                    ("attempted", "established", "refused", "timed_out", "failed", "destinations", "ports"), 0
                ),
                notified_magnitude=0,
            )
        )


def _finding(engine: Engine, ref: SnapshotRef, rule_id: str, alert_id: int, decision: str = "opened") -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(findings).values(
                host_id=ref.host_id,
                seq=ref.seq,
                rule_id=rule_id,
                fingerprint=f"{alert_id:032x}",
                alert_id=alert_id,
                decision=decision,
                start=ref.start,
                end=ref.end,
                rows=1,
            )
        )


def test_rules_are_counted_by_day_and_month(engine: Engine) -> None:
    """Hits are findings of all hosts that ended in the last 24 hours and 30 days; older ones do not count."""
    now = START + timedelta(days=60)
    for host in ("bastion-1", "bastion-2"):
        recorder = Recorder(engine, host=host)
        for age, rules in (
            (timedelta(days=31), ["scan", "old"]),
            (timedelta(days=30) - _SECOND, ["scan"]),
            (timedelta(days=2), ["scan", "burst"]),
            (timedelta(hours=24) - _SECOND, ["burst"]),
            (timedelta(), ["burst"]),
        ):
            recorder.now = now - age - recorder.interval
            ref = recorder.snapshot()
            _alert(engine, ref, alert_id := 100 * ref.host_id + ref.seq)
            for rule in rules:
                _finding(engine, ref, rule, alert_id)

    with reading(engine) as connection:
        hits = rule_hits(connection, now=now)

    assert {rule_id: (hit.day, hit.month) for rule_id, hit in hits.items()} == {"scan": (0, 4), "burst": (4, 6)}


def test_no_findings_no_hits(engine: Engine) -> None:
    """A store without findings, or without anything, has no hits."""
    with reading(engine) as connection:
        assert rule_hits(connection, now=START) == {}
    Recorder(engine).snapshot(count())
    with reading(engine) as connection:
        assert rule_hits(connection, now=START) == {}


def test_decisions_are_told_in_order(engine: Engine) -> None:
    """What became of an alert's findings, by reason, with how many and from when to when."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count()) for _ in range(4)]
    for alert_id in (1, 2):
        _alert(engine, refs[0], alert_id)
    _finding(engine, refs[0], "scan", 1, "opened")
    for ref in refs[1:3]:
        _finding(engine, ref, "scan", 1, "grouped")
    _finding(engine, refs[3], "scan", 1, "grown tenfold")
    _finding(engine, refs[3], "scan", 2, "opened")

    with reading(engine) as connection:
        found = decisions(connection, 1)
        assert decisions(connection, 3) == []

    assert found == [
        Decision(decision="opened", findings=1, start=refs[0].start, end=refs[0].end),
        Decision(decision="grouped", findings=2, start=refs[1].start, end=refs[2].end),
        Decision(decision="grown tenfold", findings=1, start=refs[3].start, end=refs[3].end),
    ]
