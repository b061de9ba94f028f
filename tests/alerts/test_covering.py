"""Several rules see one incident, and people are told of it once; what is another thing is told by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from detector import shipped
from detector.alerts.book import AlertBook, ChannelPolicy
from detector.alerts.covering import Covering, covered
from detector.alerts.grouping import Incident, incidents
from detector.alerts.policy import Timing
from detector.config_routes import Route
from detector.domain import Severity, Telling
from detector.matchers import parse
from detector.ruleset.load import load_rules
from detector.store import alert_silences
from detector.store.engine import reading, writing
from detector.store.findings import rule_hits
from detector.store.tables import findings as findings_table
from detector.store.threads import timeline
from tests.alerts.hosts import MAIL, Host, contents, finding, scan
from tests.alerts.test_grouping import FINDINGS
from tests.builders import START, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import RuleSet

_LOW: dict[str, Any] = {
    "rule_id": "first_contact",
    "rule_title": "First contact",
    "severity": Severity.LOW,
    "fingerprint": "a" * 32,
}
_SCORE: dict[str, Any] = {
    "rule_id": shipped.ANOMALY_RULE,
    "rule_title": "Unusual",
    "severity": Severity.MEDIUM,
    "fingerprint": "b" * 32,
}
_TITLES = {"first_contact": "First contact", shipped.ANOMALY_RULE: "Unusual"}


def _seen_by_three(host: Host, ports: tuple[int, int] = (1, 50)) -> tuple[SnapshotRef, list[Finding]]:
    """A scan that the rule on scans sees whole, and two others in part."""
    ref, rows = host.snapshot(*scan(*ports))
    return ref, [finding(ref, rows), finding(ref, rows[5:], **_LOW), finding(ref, rows[:9], **_SCORE)]


def test_a_scan_that_three_rules_see_is_one_alert_and_one_message(engine: Engine) -> None:
    """The most severe tells it and names the others; each finding is kept under its rule, with the reason."""
    host = Host(engine)
    for first in (1, 51, 101):
        ref, found = _seen_by_three(host, (first, first + 49))
        host.record(ref, *found)
    (alert,) = host.alerts()
    assert (alert.rule_id, alert.ports, alert.attempted, alert.finding_count) == ("vertical_scan", 150, 150, 3)
    assert alert.also_seen_by == _TITLES
    assert host.sent(alert) == [("mail", "opened")]
    assert sorted(host.decisions()) == sorted(["opened", *["grouped"] * 2, *["covered by another rule"] * 6])
    with reading(engine) as connection:
        hits = rule_hits(connection, now=ref.end)
        told = [(each.kind, each.said) for each in timeline(connection, [alert])]
    seen = dict.fromkeys(("vertical_scan", "first_contact", shipped.ANOMALY_RULE), (3, ref.end))
    assert {rule: (each.month, each.last) for rule, each in hits.items()} == seen
    assert told[1:] == [("also seen by", "First contact"), ("also seen by", "Unusual")]


def test_a_reverse_shell_behind_a_scan_is_told(sqlite_engine: Engine) -> None:
    """Whoever scans, even with the same program, hides nothing: what is as severe, or goes elsewhere, has its alert."""
    host = Host(sqlite_engine)
    for first in (1, 51):
        ref, rows = host.snapshot(*scan(first, first + 49), count("203.0.113.9", 443), count("127.0.0.1", 4444))
        *scanned, elsewhere, shell = sorted(rows, key=lambda row: row.key_id)
        host.record(
            ref,
            finding(ref, [*scanned, shell], severity=Severity.HIGH),
            # The same rows as the scan's, as severe.
            finding(ref, [shell], rule_id="shell", rule_title="Shell", severity=Severity.HIGH, fingerprint="c" * 32),
            # Another destination of the same person and program.
            finding(ref, [*scanned, elsewhere], **_LOW),
            # A rule that says what it is, though not as severe.
            finding(ref, [shell], rule_id="irc", rule_title="IRC", fingerprint="d" * 32),
        )
    told = {alert.rule_title: (host.sent(alert), dict(alert.also_seen_by)) for alert in host.alerts()}
    assert told == {
        title: ([("mail", "opened")], {}) for title in ("Vertical port scan", "Shell", "First contact", "IRC")
    }


def _detect(host: Host, ref: SnapshotRef, ruleset: RuleSet) -> None:
    """What detection does with rules and alerts."""
    with writing(host.engine) as connection:
        ruleset.prepare(connection)
        host.book.record(connection, ref, ruleset.evaluate(connection, ref))


def test_three_users_who_scan_are_three_messages_of_the_shipped_rules(sqlite_engine: Engine) -> None:
    """Port 53, what is new and what is unusual are seen by rules of their own: these are named, and not told."""
    host = Host(sqlite_engine, cooldown=timedelta(hours=1))
    ruleset = load_rules([shipped.folder("rules")]).ruleset
    strange = {"novelty": "destination", "unusual": True, "score": 0.999, "surprise": 3.0}
    for first in (1, 51, 1):
        scans = [
            count(f"10.0.4.{place}", port, user=user, login_user=user, executable="/opt/scan", attempted=1, refused=1)
            for place, user in enumerate(("alice", "bob", "carol"), start=1)
            for port in range(first, first + 50)
        ]
        ref, _ = host.snapshot(*scans, **strange)
        _detect(host, ref, ruleset)
    alerts = host.alerts()
    assert {alert.rule_title for alert in alerts} == {"Port scan of one destination"}
    assert [host.sent(alert) for alert in alerts] == [[("mail", "opened")]] * 3
    for alert in alerts:
        assert {
            "Connection that is unusual for this host",
            "DNS server that this host has not asked before",
            "First contact with a destination",
        } <= set(alert.also_seen_by.values())


def test_a_silence_of_a_lesser_rule_mutes_that_alone(sqlite_engine: Engine) -> None:
    """What has its rows is told, and names it all the same."""
    host = Host(sqlite_engine)
    with writing(sqlite_engine) as connection:
        alert_silences.add(
            connection,
            [parse("rule=first_contact")],
            starts_at=START,
            ends_at=START + timedelta(days=1),
            author="alice",
            reason="a test",
            now=START,
        )
    ref, found = _seen_by_three(host)
    host.record(ref, *found)
    ref, rows = host.snapshot(count("203.0.113.9", 443))
    host.record(ref, finding(ref, rows, **_LOW))
    alone, scan_alert = host.alerts()
    assert (host.sent(scan_alert), scan_alert.also_seen_by) == ([("mail", "opened")], _TITLES)
    assert (alone.silenced_by, host.sent(alone)) == (1, [])


def test_the_shipped_rules_tell_a_reverse_shell_behind_a_scan(sqlite_engine: Engine) -> None:
    """A program scans a machine and calls home to one of these ports: people are told of the scan, and of the port."""
    host = Host(sqlite_engine)
    ruleset = load_rules([shipped.folder("rules")]).ruleset
    where: dict[str, Any] = {"address": "203.0.113.9", "executable": "/opt/tool"}
    for first in (1, 51):
        scanned = [count(port=port, attempted=1, refused=1, **where) for port in range(first, first + 50)]
        ref, _ = host.snapshot(*scanned, count(port=4444, **where))
        _detect(host, ref, ruleset)
    assert {alert.rule_title: host.sent(alert) for alert in host.alerts()} == {
        "Port scan of one destination": [("mail", "opened")],
        "Connection to a port that attack tools listen on": [("mail", "opened")],
    }


def test_a_worse_rule_is_told_though_others_were(engine: Engine) -> None:
    """What a lesser rule has told does not keep a more severe one from telling; from then on it speaks for both."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 9))
    host.record(ref, finding(ref, rows, **_LOW))
    ref, found = _seen_by_three(host, (10, 59))
    host.record(ref, *found)
    high, low = host.alerts()
    assert [host.sent(each) for each in (low, high)] == [[("mail", "opened")]] * 2
    assert (low.ports, high.ports) == (9, 50)
    assert high.also_seen_by == _TITLES


def test_another_persons_rows_are_another_thing(engine: Engine) -> None:
    """An alert about several people speaks for nobody in particular."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 5), *scan(6, 10, login_user="bob", user="bob"))
    host.record(ref, finding(ref, rows, group={}), finding(ref, rows[:5], **_LOW), finding(ref, rows[5:], **_SCORE))
    assert [dict(alert.also_seen_by) for alert in host.alerts()] == [{}, {}, {}]


def test_what_two_alerts_have_together_is_covered(engine: Engine) -> None:
    """Scans of two destinations cover what a rule about their person sees of both."""
    host = Host(engine)
    ref, rows = host.snapshot(*scan(1, 10))
    first, second = finding(ref, rows[:5], fingerprint="1" * 32), finding(ref, rows[5:], fingerprint="2" * 32)
    host.record(ref, first, second, finding(ref, rows, **_LOW))
    assert sorted(len(alert.also_seen_by) for alert in host.alerts()) == [0, 1]


def test_rows_of_a_window_may_be_behind_the_alert_already(engine: Engine) -> None:
    """A lesser rule with a longer window names old rows too: covered as long as the alert has them."""
    host = Host(engine)
    ref, old = host.snapshot(*scan(1, 10))
    host.record(ref, finding(ref, old))
    ref, new = host.snapshot(*scan(11, 20))
    host.record(ref, finding(ref, new), finding(ref, [*old, *new], **_LOW))
    (alert,) = host.alerts()
    assert alert.also_seen_by == {"first_contact": "First contact"}
    unseen, _ = host.snapshot(count("10.0.0.9", 22))
    ref, new = host.snapshot(*scan(21, 30))
    before = replace(new[0], seq=unseen.seq)
    host.record(ref, finding(ref, new), finding(ref, [before, *new], **_LOW))
    assert len(host.alerts()) == 2


def test_who_hears_nothing_of_the_one_is_told_the_other(engine: Engine) -> None:
    """Of a rule that is silenced, or has other channels, the lesser one is told: to whom it would have been told."""
    host = Host(engine)
    with writing(engine) as connection:
        alert_silences.add(
            connection,
            [parse("rule=vertical_scan")],
            starts_at=START,
            ends_at=START + timedelta(seconds=10, microseconds=1),
            author="alice",
            reason="a test",
            now=START,
        )
    ref, found = _seen_by_three(host)
    host.record(ref, *found)
    told = {alert.rule_id: host.sent(alert) for alert in host.alerts()}
    # Of the two that are left, the score is the more severe one, but has not all rows of the other.
    assert told == {
        "vertical_scan": [],
        "first_contact": [("mail", "opened")],
        shipped.ANOMALY_RULE: [("mail", "opened")],
    }


@pytest.mark.parametrize("by", ["rule", "route"])
def test_channels_of_a_lesser_rule_are_not_passed_over(sqlite_engine: Engine, by: str) -> None:
    """A channel that would be told of the lesser rule, but not of the other, is told of it by itself."""
    chat = ChannelPolicy(name="chat", min_severity=Severity.LOW)
    host = Host(sqlite_engine, channels=(MAIL, chat))
    telling = Telling(channels=("chat",)) if by == "rule" else Telling()
    routes = [Route(rule=("first_contact",), channels=("chat",)), Route(channels=("mail",))] if by == "route" else []
    ref, rows = host.snapshot(*scan(1, 50))
    found = [finding(ref, rows, telling=Telling(channels=("mail",)) if by == "rule" else Telling())]
    with writing(sqlite_engine) as connection:
        AlertBook(host.channels, host.cooldown, routes=routes).record(
            connection, ref, [*found, finding(ref, rows, telling=telling, **_LOW)]
        )
    assert {alert.rule_id: host.sent(alert) for alert in host.alerts()} == {
        "vertical_scan": [("mail", "opened")],
        "first_contact": [("chat", "opened")],
    }


def test_what_is_covered_takes_no_place_among_the_alerts_of_a_day(sqlite_engine: Engine) -> None:
    """A scan's scores leave the scores of a day to others."""
    host = Host(sqlite_engine)
    ref, rows = host.snapshot(*scan(1, 50), count("203.0.113.9", 443), surprise=3.0, score=0.999)
    *scanned, other = sorted(rows, key=lambda row: row.key_id)
    scores = [
        finding(ref, [row], **_SCORE | {"fingerprint": f"{number:032x}"})
        for number, row in enumerate([*scanned, other])
    ]
    with writing(sqlite_engine) as connection:
        book = AlertBook(host.channels, host.cooldown, most_a_day=1)
        book.record(connection, ref, [finding(ref, scanned), *scores])
    assert sorted(alert.destinations for alert in host.alerts()) == [1, 1]
    assert not any("held back" in alert.rule_title for alert in host.alerts())


def test_each_rule_tells_by_itself_if_that_is_wanted(sqlite_engine: Engine) -> None:
    """With nothing covered, three rules are three alerts."""
    host = Host(sqlite_engine)
    ref, found = _seen_by_three(host)
    with writing(sqlite_engine) as connection:
        AlertBook(host.channels, host.cooldown, covering=Covering(None)).record(connection, ref, found)
    assert len(host.alerts()) == 3


def test_covering_again_changes_nothing(engine: Engine) -> None:
    """In whatever order findings come, and however often: the same alerts, decisions and events."""
    hosts = [Host(engine, timing=Timing(group_wait=timedelta(seconds=wait))) for wait in (0, 20)]
    for number, host in enumerate(hosts):
        host.recorder = type(host.recorder)(engine, host=f"bastion-{number}")
        for first in (1, 51, 101):
            ref, found = _seen_by_three(host, (first, first + 49))
            host.record(ref, *found)
            before = contents(engine)
            host.record(ref, *found[::-1])
            assert contents(engine) == before
    with reading(engine) as connection:
        decided = set(connection.scalars(select(findings_table.c.decision)))
    assert decided == {"opened", "grouped", "held by group_wait", "covered by another rule"}


# As many incidents as there are fingerprints.
_FINDINGS = st.builds(lambda found, number: replace(found, fingerprint=f"f{number}"), FINDINGS, st.integers(1, 6))
_UP_TO = st.sampled_from([None, *Severity]).map(Covering)


def _covered(found: list[Finding], covering: Covering) -> tuple[list[Incident], dict[str, tuple[Incident, ...]]]:
    arrived = incidents(found)
    return arrived, covered(arrived, covering, lambda _incident, _places: set())


@given(st.lists(_FINDINGS, max_size=8).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), _UP_TO)
def test_the_order_has_no_influence_on_what_is_covered(
    found: tuple[list[Finding], list[Finding]], covering: Covering
) -> None:
    """Whatever comes first, the same covers the same."""
    one, other = (_covered(each, covering)[1] for each in found)
    assert one == other


@given(st.lists(_FINDINGS, max_size=8), _UP_TO)
def test_only_what_a_more_severe_rule_has_is_covered(found: list[Finding], covering: Covering) -> None:
    """All rows of what is covered are those of others, each more severe, and told; so nothing is told by nobody."""
    arrived, lesser = _covered(found, covering)
    by_fingerprint = {each.fingerprint: each for each in arrived}
    for fingerprint, greater in lesser.items():
        each = by_fingerprint[fingerprint]
        assert greater
        assert each.places <= set[Any]().union(*(other.places for other in greater))
        assert all(other.lead.severity.rank > each.lead.severity.rank for other in greater)
        assert not {other.fingerprint for other in greater} & lesser.keys()
        assert covering.up_to is not None
        assert each.lead.severity.rank <= covering.up_to.rank
    told = max(arrived, key=lambda each: each.lead.severity.rank, default=None)
    assert told is None or told.fingerprint not in lesser
