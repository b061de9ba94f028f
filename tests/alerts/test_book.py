"""Findings go in; alerts with decisions and outbox entries stand there afterwards."""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, Any

from detector.domain import EvidenceRef, Severity
from tests.alerts.hosts import MAIL, PAGER, Host, contents, finding, scan
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine


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


def test_rows_that_another_rule_names_later_count_once(engine: Engine) -> None:
    """Findings of a snapshot that come in two parts, of two rules with one fingerprint, add up each row once."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 10))
    host.record(ref, finding(ref, rows[:6], rule_id="one"))
    host.record(ref, finding(ref, rows[:6], rule_id="one"), finding(ref, rows[4:], rule_id="another"))
    (alert,) = host.alerts()
    assert (alert.attempted, alert.ports, alert.finding_count) == (10, 10, 2)
    assert len(contents(engine)["evidence"]) == 10


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
    """Below the severity of every channel nothing is sent; alert and decision stand, and the reason."""
    host = Host(engine, channels=(PAGER,))
    ref, rows = host.snapshot(*scan(1, 10))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert host.decisions() == ["opened"]
    assert host.sent(alert) == []
    assert host.withheld(alert) == [("pager", "below the channel's severity")]


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


def test_a_row_names_the_human_the_script_and_the_destination(engine: Engine) -> None:
    """What all rows agree on is said: where the login came from, which script ran, what the destination is called."""
    host = Host(engine)
    row: Any = {
        "login_address": "203.0.113.7",
        "executable": "/usr/bin/python3.11",
        "script": "/opt/backup.py",
        "user": "root",
        "remote_name": "db.internal",
    }
    ref, rows = host.snapshot(count(**row))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.summary == (
        "alice (ssh from 203.0.113.7), as root, via /usr/bin/python3.11 running /opt/backup.py, made 1 connect to "
        "10.0.4.12:22 (db.internal) in 10 s, 1 established."
    )
    # From here on not all rows do.
    other = {"login_address": None, "script": None, "remote_name": "old.internal"}
    ref, rows = host.snapshot(count(**row | other))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.summary == (
        "alice as root, via /usr/bin/python3.11, made 2 connects to 10.0.4.12:22 in 20 s, 2 established."
    )


def test_a_scan_by_flows_counts_addresses_and_ports(engine: Engine) -> None:
    """Flows are told as such; what has no address counts as an event, and is no destination."""
    host = Host(engine)
    udp: Any = {"protocol": "udp", "executable": "/usr/bin/python3.11"}
    ref, rows = host.snapshot(*(count("10.0.4.12", port, **udp) for port in range(1, 313)))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.summary == "alice, via /usr/bin/python3.11, sent to 312 UDP ports on 10.0.4.12 in 10 s."
    assert (alert.attempted, alert.destinations, alert.ports) == (312, 1, 312)
    ref, rows = host.snapshot(count(None, None, attempted=88, **udp))
    host.record(ref, finding(ref, rows))
    (alert,) = host.alerts()
    assert alert.summary == (
        "alice, via /usr/bin/python3.11, sent to 312 UDP ports on 10.0.4.12 in 400 flows, some to unknown "
        "destinations, in 20 s."
    )
    assert (alert.attempted, alert.destinations, alert.ports) == (400, 1, 312)


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
    before = contents(engine)
    host.record(ref, finding(ref, rows), finding(ref, rows))
    assert contents(engine) == before


def test_no_findings_touch_nothing(sqlite_engine: Engine) -> None:
    """A snapshot without findings leaves no trace."""
    host = Host(sqlite_engine)
    ref, _ = host.snapshot(*scan(1, 3))
    host.record(ref)
    assert host.alerts() == []
