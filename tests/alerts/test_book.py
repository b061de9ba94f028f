"""Findings go in; alerts with exact totals, decisions and outbox entries stand there afterwards."""

from __future__ import annotations

import random
import string
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import EvidenceRef, Finding, Severity
from detector.store.alerts import list_alerts, notifications_of
from detector.store.engine import open_store, reading, writing
from detector.store.tables import alerts as alerts_table
from detector.store.tables import findings as findings_table
from detector.store.tables import metadata
from tests.builders import Recorder, count, observe, stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Engine

    from detector.domain import Alert, ConnectionCount, SnapshotRef

MAIL = ChannelPolicy(name="mail", min_severity=Severity.LOW)
PAGER = ChannelPolicy(name="pager", min_severity=Severity.CRITICAL)


@dataclass
class Host:
    """A host whose snapshots give rise to findings."""

    engine: Engine
    channels: Sequence[ChannelPolicy] = (MAIL,)
    cooldown: timedelta = timedelta(minutes=10)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.engine)

    def snapshot(self, *counts: ConnectionCount, **observed: Any) -> tuple[SnapshotRef, tuple[EvidenceRef, ...]]:
        """A snapshot whose rows all have the observation `observed`; with references to its rows."""
        ref = self.recorder.snapshot(*counts)
        rows = list(stored(self.engine, ref))
        observe(self.engine, ref, {row.key_id: observed for row in rows})
        return ref, tuple(EvidenceRef(seq=ref.seq, key_id=row.key_id, session=row.count.session) for row in rows)

    def record(self, ref: SnapshotRef, *found: Finding) -> None:
        """What detection does with findings; a new book each time, as after a restart."""
        with writing(self.engine) as connection:
            AlertBook(self.channels, self.cooldown).record(connection, ref, found)

    def alerts(self) -> list[Alert]:
        """All alerts, the newest first."""
        with reading(self.engine) as connection:
            return list_alerts(connection)

    def decisions(self) -> list[str]:
        """What was decided, finding by finding."""
        with reading(self.engine) as connection:
            columns = findings_table.c
            return list(connection.scalars(select(columns.decision).order_by(columns.seq, columns.rule_id)))

    def sent(self, alert: Alert) -> list[tuple[str, str]]:
        """Channel and reason of an alert's notifications."""
        with reading(self.engine) as connection:
            return [(each.channel, each.reason) for each in notifications_of(connection, alert.alert_id)]


def finding(ref: SnapshotRef, evidence: Iterable[EvidenceRef], **values: Any) -> Finding:
    """A finding about a snapshot."""
    defaults: dict[str, Any] = {
        "rule_id": "vertical_scan",
        "rule_title": "Vertical port scan",
        "severity": Severity.MEDIUM,
        "fingerprint": "f" * 32,
        "group": {"user": "alice"},
        "start": ref.start,
        "end": ref.end,
    }
    return Finding(**defaults | values, evidence=tuple(evidence))


def scan(first: int, last: int, **values: Any) -> list[ConnectionCount]:
    """Refused connects to a span of ports."""
    return [count("127.0.0.1", port, attempted=1, refused=1, **values) for port in range(first, last + 1)]


def test_a_scan_is_one_alert_that_says_it_all(engine: Engine) -> None:
    """300 refused ports are one alert with one notification, whose first line says who, with what, where, how many."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 300, executable="/usr/bin/nc", user="root"), score=0.99, surprise=2.0)
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.summary == (
        "alice as root, via /usr/bin/nc, tried 300 ports on 127.0.0.1 in 10 s, 300 refused. Anomaly score 0.9900."
    )
    assert (alert.attempted, alert.refused, alert.ports, alert.destinations) == (300, 300, 300, 1)
    assert (alert.host, alert.severity, alert.group) == ("bastion-1", Severity.MEDIUM, {"user": "alice"})
    assert (alert.opened_at, alert.start, alert.end) == (ref.end, ref.start, ref.end)
    assert (alert.finding_count, alert.score) == (1, 0.99)
    assert host.sent(alert) == [("mail", "opened")]


def test_what_follows_within_the_cooldown_is_the_same_alert(engine: Engine) -> None:
    """Later findings add to the alert without a message; after a quiet cooldown a new one opens."""
    host = Host(engine)
    for port in (1, 2):
        ref, rows = host.snapshot(*scan(port, port))
        host.record(ref, finding(ref, rows))
        host.recorder.pass_time(minutes=9)
    host.recorder.pass_time(minutes=2)
    ref, rows = host.snapshot(*scan(3, 3))
    host.record(ref, finding(ref, rows))
    new, old = host.alerts()
    assert (old.finding_count, old.ports, old.attempted) == (2, 2, 2)
    assert (new.finding_count, new.ports, new.opened_at) == (1, 1, ref.end)
    assert host.decisions() == ["opened", "grouped", "opened"]
    assert host.sent(old) == host.sent(new) == [("mail", "opened")]


def test_rows_named_again_count_once(engine: Engine) -> None:
    """A rule with a long window names the same rows in every snapshot: totals count each row once."""
    host = Host(engine)
    window: list[EvidenceRef] = []
    for first in (1, 11, 21):
        ref, rows = host.snapshot(*scan(first, first + 9))
        window += rows
        host.record(ref, finding(ref, window, start=host.alerts()[0].start if first > 1 else ref.start))
    (alert,) = host.alerts()
    assert (alert.attempted, alert.refused, alert.ports, alert.finding_count) == (30, 30, 30, 3)
    assert "tried 30 ports on 127.0.0.1 in 30 s" in alert.summary


def test_a_row_that_a_window_names_late_is_added(engine: Engine) -> None:
    """Rows of earlier snapshots that no finding has named before count as soon as one does."""
    host = Host(engine)
    first, rows = host.snapshot(*scan(1, 10))
    host.record(first, finding(first, rows[:5]))
    _, quiet = host.snapshot(*scan(11, 20))
    last, new = host.snapshot(*scan(21, 30))
    host.record(last, finding(last, [*rows, *quiet, *new]))
    (alert,) = host.alerts()
    assert (alert.attempted, alert.ports) == (30, 30)


def test_an_incident_that_grows_tenfold_is_told_again(engine: Engine) -> None:
    """Growth to ten times what was told sends again, and only then."""
    host = Host(engine)
    for attempted in (10, 80, 10, 890, 9):
        ref, rows = host.snapshot(count("10.0.0.9", 22, attempted=attempted))
        host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert host.decisions() == ["opened", "grouped", "grown tenfold", "grouped", "grouped"]
    assert host.sent(alert) == [("mail", "opened"), ("mail", "grown tenfold")]
    assert alert.attempted == 999


def test_a_more_severe_finding_raises_the_alert(engine: Engine) -> None:
    """The alert takes the severity and the rule, and reaches the channels that were not told before."""
    host = Host(engine, channels=(MAIL, PAGER))
    ref, rows = host.snapshot(*scan(1, 10))
    host.record(ref, finding(ref, rows))
    ref, rows = host.snapshot(*scan(11, 20))
    worse = {"severity": Severity.CRITICAL, "rule_id": "takeover", "rule_title": "Takeover", "group": {"user": "root"}}
    host.record(ref, finding(ref, rows, **worse))
    ref, rows = host.snapshot(*scan(21, 30))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert (alert.severity, alert.rule_id, alert.rule_title) == (Severity.CRITICAL, "takeover", "Takeover")
    assert alert.group == {"user": "root"}
    assert host.decisions() == ["opened", "raised", "grouped"]
    assert host.sent(alert) == [("mail", "opened"), ("mail", "raised"), ("pager", "raised")]


def test_rules_with_one_fingerprint_are_one_message(engine: Engine) -> None:
    """In one snapshot only the most severe finding of an incident is told; each keeps its own decision."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 20))
    host.record(
        ref,
        finding(ref, rows[:2], rule_id="a_low", severity=Severity.LOW),
        finding(ref, rows[5:], rule_id="z_high", severity=Severity.HIGH),
    )
    (alert,) = host.alerts()
    assert (alert.rule_id, alert.finding_count, alert.attempted) == ("z_high", 2, 17)
    assert host.decisions() == ["grouped", "opened"]
    assert host.sent(alert) == [("mail", "opened")]


def test_an_alert_that_no_channel_takes_is_kept(engine: Engine) -> None:
    """Below the severity of every channel nothing is sent; alert and decision stand."""
    host = Host(engine, channels=(PAGER,))
    ref, rows = host.snapshot(*scan(1, 10))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert host.decisions() == ["opened"]
    assert host.sent(alert) == []


def test_hosts_and_fingerprints_keep_apart(engine: Engine) -> None:
    """The same fingerprint on two hosts is two alerts, and so are two fingerprints on one host."""
    host, other = Host(engine), Host(engine)
    other.recorder = Recorder(engine, host="bastion-2")
    for each in (host, other):
        ref, rows = each.snapshot(*scan(1, 10))
        each.record(ref, finding(ref, rows), finding(ref, rows[:3], fingerprint="0" * 32))
    assert sorted((alert.host, alert.fingerprint[0], alert.attempted) for alert in host.alerts()) == [
        ("bastion-1", "0", 3),
        ("bastion-1", "f", 10),
        ("bastion-2", "0", 3),
        ("bastion-2", "f", 10),
    ]


def test_the_three_strangest_rows_explain(engine: Engine) -> None:
    """Explanations are those of the most surprising rows so far, each sentence once; the first is in the summary."""
    host = Host(engine)
    for surprise, sentence in ((2.0, "two"), (4.0, "four"), (1.0, "one"), (3.0, "three"), (3.5, "two")):
        ref, rows = host.snapshot(*scan(1, 1), surprise=surprise, score=surprise / 10, explanation=sentence)
        host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.explanations == ("four", "two", "three")
    assert alert.score == 0.4
    assert alert.summary.endswith(". Four.")


def test_inbound_rows_count_by_local_port(engine: Engine) -> None:
    """Inbound connections have no attempts and no remote port."""
    host = Host(engine)
    ref, rows = host.snapshot(
        count("203.0.113.7", 22, direction="inbound", established=400),
        count("203.0.113.7", 2222, direction="inbound", established=12),
    )
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert (alert.attempted, alert.established, alert.ports) == (0, 412, 2)
    assert alert.summary == "203.0.113.7 opened 412 connections to 2 ports in 10 s."


def test_names_of_any_length_are_told_apart(engine: Engine) -> None:
    """Paths too long for an index entry are counted like others: they differ in their last letter."""
    host = Host(engine)
    path = "/tmp/" + "".join(random.Random(1).choices(string.ascii_letters, k=4000))
    ref, rows = host.snapshot(*(count(executable=path + last) for last in "ab"))
    host.record(ref, finding(ref, rows[:1]))
    (alert,) = host.alerts()
    assert alert.summary.startswith(f'alice, via "{path[:119]}…", made 1 connect')
    ref, rows = host.snapshot(*(count(executable=path + last) for last in "ab"))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.summary.startswith("alice, via 2 executables, made 3 connects")


def test_recording_twice_changes_nothing(engine: Engine) -> None:
    """The same findings of the same snapshot, given again, leave everything as it is."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 10))
    host.record(ref, finding(ref, rows))
    before = _contents(engine)
    host.record(ref, finding(ref, rows), finding(ref, rows))
    assert _contents(engine) == before


def test_no_findings_touch_nothing(sqlite_engine: Engine) -> None:
    """A snapshot without findings leaves no trace."""
    host = Host(sqlite_engine)
    ref, _ = host.snapshot(*scan(1, 3))
    host.record(ref)
    assert host.alerts() == []


@pytest.fixture(scope="module")
def two_engines() -> Iterator[tuple[Engine, Engine]]:
    """Two databases in memory."""
    engines = open_store("sqlite://"), open_store("sqlite://")
    for engine in engines:
        with writing(engine) as connection:
            metadata.create_all(connection)
    yield engines
    for engine in engines:
        engine.dispose()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_totals_are_those_of_the_distinct_rows(two_engines: tuple[Engine, Engine], data: st.DataObject) -> None:
    """Whatever findings name which rows, in whatever order, totals are exact and the contents are the same."""
    one, other = (Host(_wiped(engine)) for engine in two_engines)
    snapshots = data.draw(st.integers(1, 4))
    everything: dict[str, dict[EvidenceRef, ConnectionCount]] = {"a" * 32: {}, "b" * 32: {}}
    known: dict[EvidenceRef, ConnectionCount] = {}
    for _ in range(snapshots):
        counts = data.draw(st.lists(_COUNTS, min_size=1, max_size=5, unique_by=lambda each: each.key))
        ref, _ = one.snapshot(*counts)
        other.snapshot(*counts)
        known |= {
            EvidenceRef(seq=ref.seq, key_id=row.key_id, session=row.count.session): row.count
            for row in stored(one.engine, ref)
        }
        named = st.lists(st.sampled_from(sorted(known, key=repr)), min_size=1, max_size=8)
        found = [
            finding(ref, data.draw(named), rule_id=rule, fingerprint=fingerprint)
            for rule, fingerprint in data.draw(
                st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(sorted(everything))), max_size=5)
            )
        ]
        for each in found:
            everything[each.fingerprint] |= {place: known[place] for place in each.evidence}
        one.record(ref, *found)
        other.record(ref, *data.draw(st.permutations(found)))
    for alert in one.alerts():
        behind = everything[alert.fingerprint].values()
        for kind in ("attempted", "established", "refused", "timed_out", "failed"):
            assert getattr(alert, kind) == sum(getattr(each, kind) for each in behind)
        assert alert.destinations == len({each.key.remote_address for each in behind})
        assert alert.ports == len({each.key.remote_port or each.key.local_port for each in behind})
    assert _contents(one.engine) == _contents(other.engine)


def test_a_full_port_scan_takes_less_than_two_seconds(sqlite_engine: Engine) -> None:
    """65,535 rows behind one finding are stored and added up within 2 s, and named again within half a second."""
    host = Host(sqlite_engine)
    ref = host.recorder.snapshot(*scan(1, 65_535))
    rows = [EvidenceRef(seq=ref.seq, key_id=key_id, session=0) for key_id in range(1, 65_536)]
    assert _seconds(host, ref, finding(ref, rows)) < 2
    ref, _ = host.snapshot(*scan(22, 22))
    assert _seconds(host, ref, finding(ref, rows)) < 0.5
    (alert,) = host.alerts()
    assert (alert.attempted, alert.ports, alert.finding_count) == (65_535, 65_535, 2)
    assert "tried 65,535 ports on 127.0.0.1 in 20 s, 65,535 refused." in alert.summary


_COUNTS = st.builds(
    lambda address, port, direction, attempted, refused, session: count(
        address, port, direction=direction, attempted=attempted, refused=refused, session=session
    ),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]),
    st.integers(1, 3),
    st.sampled_from(["outbound", "inbound"]),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 1),
)


def _seconds(host: Host, ref: SnapshotRef, found: Finding) -> float:
    # The processor's time: what else the machine does at the moment must not fail the test.
    start = time.process_time()
    host.record(ref, found)
    return time.process_time() - start


def _wiped(engine: Engine) -> Engine:
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    return engine


def _contents(engine: Engine) -> dict[str, list[str]]:
    """All that the book writes; alerts and notifications by what they are, not by their numbers."""
    with reading(engine) as connection:
        names = {
            row.alert_id: (row.host_id, row.fingerprint, row.opened_at)
            for row in connection.execute(select(alerts_table))
        }
        return {
            table.name: sorted(
                repr(
                    {
                        name: names[value] if name == "alert_id" else value
                        for name, value in row.items()
                        if name != "notification_id"
                    }
                )
                for row in connection.execute(select(table)).mappings()
            )
            for table in metadata.sorted_tables
            if table.name in {"alerts", "findings", "evidence", "alert_values", "notifications"}
        }
