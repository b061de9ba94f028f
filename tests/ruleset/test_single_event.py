"""Single-event rules: what they match in one snapshot, and how matches become findings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from detector.domain import EvidenceRef, Severity
from detector.ruleset.compile import MAX_COMPARISONS, MAX_VALUES
from detector.ruleset.evaluate import fingerprint
from tests.builders import Recorder, count, observe
from tests.ruleset.writing import correlation, evaluated, event, loaded, rule_id

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Scalar


def test_a_finding_says_which_rule_matched_what_and_when(engine: Engine, tmp_path: Path) -> None:
    """All of a finding comes from the rule, the snapshot and the rows."""
    ref = Recorder(engine).snapshot(count("10.0.0.9", 22), count("10.0.0.9", 80, session=7))
    (finding,) = evaluated(engine, loaded(tmp_path, event({"DestinationPort": 80}, level="critical")), ref)
    assert (finding.rule_id, finding.rule_title, finding.severity) == (rule_id(1), "rule 1", Severity.CRITICAL)
    assert (finding.start, finding.end) == (ref.start, ref.end)
    assert finding.group == {"login_user": "alice", "user": "alice", "executable": "/usr/bin/ssh"}
    assert finding.evidence == (EvidenceRef(seq=1, key_id=2, session=7),)
    assert finding.fingerprint == fingerprint(rule_id(1), "bastion-1", finding.group)


def test_outbound_matches_are_grouped_by_who_connected(engine: Engine, tmp_path: Path) -> None:
    """Rows of one login user, user and executable are one finding, wherever they went."""
    ref = Recorder(engine).snapshot(
        count("10.0.0.1", 22), count("10.0.0.2", 80), count("10.0.0.2", 80, user="root"), count(login_user=None)
    )
    findings = evaluated(engine, loaded(tmp_path, event({"Initiated": True})), ref)
    assert sorted((str(f.group["login_user"]), f.group["user"], len(f.evidence)) for f in findings) == [
        ("None", "alice", 1),
        ("alice", "alice", 2),
        ("alice", "root", 1),
    ]


def test_inbound_matches_are_grouped_by_source_and_port(engine: Engine, tmp_path: Path) -> None:
    """Rows of one remote address and local port are one finding; addresses come as text."""
    ref = Recorder(engine).snapshot(
        count("192.0.2.7", 22, direction="inbound"),
        count("192.0.2.7", 22, direction="inbound", user="root"),
        count("2001:db8::7", 22, direction="inbound"),
        count("192.0.2.7", 22),
    )
    findings = evaluated(engine, loaded(tmp_path, event({"Initiated": False})), ref)
    assert sorted((f.group["remote_address"], f.group["local_port"], len(f.evidence)) for f in findings) == [
        ("192.0.2.7", 22, 2),
        ("2001:db8::7", 22, 1),
    ]


def test_a_rule_may_choose_its_groups(engine: Engine, tmp_path: Path) -> None:
    """x-detector group_by takes any field that says who or what; names follow the direction."""
    rule = event({"DestinationPort": 22}, group_by=["Host", "DestinationPort", "Initiated"])
    ref = Recorder(engine).snapshot(count("10.0.0.1"), count("10.0.0.2"), count("10.0.0.3", direction="inbound"))
    findings = evaluated(engine, loaded(tmp_path, rule), ref)
    assert sorted((tuple(f.group.items()), len(f.evidence)) for f in findings) == [
        ((("host", "bastion-1"), ("local_port", 22), ("direction", "inbound")), 1),
        ((("host", "bastion-1"), ("remote_port", 22), ("direction", "outbound")), 2),
    ]


def test_scores_are_fields_like_any_other(engine: Engine, tmp_path: Path) -> None:
    """A rule sees what the models said of a row, and only of this snapshot."""
    recorder = Recorder(engine)
    old = recorder.snapshot(count())
    observe(engine, old, {1: {"score": 0.99, "novelty": "destination"}})
    ref = recorder.snapshot(count(), count(port=80))
    observe(engine, ref, {1: {"score": 0.5}, 2: {"score": 0.96, "channel": "novelty", "novelty": "port"}})
    rules = loaded(tmp_path, event({"AnomalyScore|gte": 0.9583, "Novelty": "port", "AnomalyChannel": "novelty"}))
    (finding,) = evaluated(engine, rules, ref)
    assert [each.key_id for each in finding.evidence] == [2]


def test_a_missing_field_matches_nothing_but_not(engine: Engine, tmp_path: Path) -> None:
    """What is unknown equals nothing, is not like anything, and is outside of every exclusion."""
    ref = Recorder(engine).snapshot(count(unit=None), count(unit="cron.service", port=80))
    absent = {"selection": {"Unit": "*"}, "condition": "not selection"}
    other = {"selection": {"Unit": "cron.service"}, "condition": "not selection"}
    rules = loaded(
        tmp_path,
        event({"Unit": "*"}, number=1),
        event({}, number=2, detection=absent),
        event({}, number=3, detection=other),
        event({"AnomalyScore|gte": 0}, number=4),
    )
    found = {finding.rule_id: [each.key_id for each in finding.evidence] for finding in evaluated(engine, rules, ref)}
    assert found == {rule_id(1): [2], rule_id(2): [1], rule_id(3): [1]}


def test_an_unknown_address_is_missing(engine: Engine, tmp_path: Path) -> None:
    """What was seen without its address is in no network, is not filtered out by one, and can be asked for."""
    ref = Recorder(engine).snapshot(count("10.0.0.9"), count(None, None, protocol="packet", executable="/usr/bin/x"))
    outside = {"selection": {"DestinationIp|cidr": "10.0.0.0/8"}, "condition": "not selection"}
    rules = loaded(
        tmp_path,
        event({"DestinationIp|cidr": ["0.0.0.0/0", "::/0"]}, number=1),
        event({}, number=2, detection=outside),
        event({"DestinationIp|exists": False}, number=3),
        event({"DestinationIp|exists": True, "DestinationPort|exists": True}, number=4),
    )
    found = {finding.rule_id: [each.key_id for each in finding.evidence] for finding in evaluated(engine, rules, ref)}
    assert found == {rule_id(1): [1], rule_id(2): [2], rule_id(3): [2], rule_id(4): [1]}


def test_where_a_login_came_from_and_what_a_destination_is_called(engine: Engine, tmp_path: Path) -> None:
    """What was learnt beside a connection is matched and grouped like the rest; the direction decides whose it is."""
    learnt: dict[str, Any] = {"remote_name": "db.example.org", "remote_country": "DE", "remote_network": "EXAMPLE-NET"}
    ref = Recorder(engine).snapshot(
        count("203.0.113.9", login_address="198.51.100.7", script="/opt/x", parent_executable="/bin/bash", **learnt),
        count("203.0.113.9", 22, direction="inbound", executable="/usr/sbin/sshd", **learnt),
        count("203.0.113.9", 443),
    )
    rules = loaded(
        tmp_path,
        event({"LoginIp|cidr": "198.51.100.0/24"}, number=1, group_by=["LoginIp", "DestinationHostname"]),
        event({"DestinationCountry": "de", "DestinationNetwork|endswith": "-net"}, number=2, group_by=["Script"]),
        event({"SourceCountry": "DE", "SourceHostname|endswith": ".org"}, number=3, group_by=["SourceNetwork"]),
        event({"ParentImage|endswith": "/bash"}, number=4, group_by=["ParentImage"]),
        event({"Image": "/usr/sbin/sshd"}, number=5),
    )
    found = {f.rule_id: (dict(f.group), [each.key_id for each in f.evidence]) for f in evaluated(engine, rules, ref)}
    assert found == {
        rule_id(1): ({"login_address": "198.51.100.7", "remote_name": "db.example.org"}, [1]),
        rule_id(2): ({"script": "/opt/x"}, [1]),
        rule_id(3): ({"remote_network": "EXAMPLE-NET"}, [2]),
        rule_id(4): ({"parent_executable": "/bin/bash"}, [1]),
        rule_id(5): ({"remote_address": "203.0.113.9", "local_port": 22}, [2]),
    }


def test_findings_come_in_a_fixed_order(engine: Engine, tmp_path: Path) -> None:
    """Findings are ordered by rule and fingerprint, evidence by key: twice the same question, twice the same answer."""
    ref = Recorder(engine).snapshot(*(count(f"10.0.0.{n}", user=f"u{n % 7}", port=99 - n) for n in range(40)))
    rules = loaded(tmp_path, *(event({"Initiated": True}, number=number) for number in (3, 1, 2)))
    findings = evaluated(engine, rules, ref)
    assert findings == evaluated(engine, rules, ref)
    order = [(finding.rule_id, finding.fingerprint) for finding in findings]
    assert order == sorted(set(order))
    assert all(list(f.evidence) == sorted(f.evidence, key=lambda e: (e.key_id, e.session)) for f in findings)


def test_other_hosts_and_snapshots_are_not_seen(engine: Engine, tmp_path: Path) -> None:
    """A rule looks at the rows of the snapshot that it is given, and no others."""
    Recorder(engine, host="other").snapshot(count("10.0.0.1"), count("10.0.0.2"))
    recorder = Recorder(engine)
    first, second = recorder.snapshot(count("10.0.0.3")), recorder.snapshot(count("10.0.0.4"))
    rules = loaded(tmp_path, event({"Initiated": True}))
    for ref in (second, first):
        (finding,) = evaluated(engine, rules, ref)
        assert [each.seq for each in finding.evidence] == [ref.seq]


def test_the_same_group_on_another_host_is_another_incident() -> None:
    """Rule, host and group make the fingerprint; the order of the group's items does not."""
    group: dict[str, Scalar] = {"user": "alice", "remote_port": 22}
    known = fingerprint(rule_id(1), "bastion-1", group)
    assert known == "ce50ab7f81d3d35319701637af941610"
    assert known == fingerprint(rule_id(1), "bastion-1", {"remote_port": 22, "user": "alice"})
    assert len({known, fingerprint(rule_id(2), "bastion-1", group), fingerprint(rule_id(1), "bastion-2", group)}) == 3


@pytest.mark.parametrize(
    "selection",
    [
        {"Image": [f"*{number}*" for number in range(MAX_COMPARISONS - 1)], "Outcome": ["refused", "failed"]},
        {"Session": list(range(MAX_VALUES)), "Outcome": ["established", "refused", "timed_out", "failed", "attempted"]},
        {"DestinationIp|cidr": [f"10.{number}.0.0/16" for number in range(256)] + ["::/0"]},
    ],
    ids=["patterns", "values", "networks"],
)
def test_the_largest_rules_run(engine: Engine, tmp_path: Path, selection: object) -> None:
    """What the loader lets pass fits both databases, alone and in a correlation."""
    rules = loaded(tmp_path, event(selection), correlation(["User"], {"gte": 1}, generate=True))
    ref = Recorder(engine).snapshot(count("10.7.0.1", executable="/bin/x7", attempted=3, refused=2, session=3))
    assert [len(finding.evidence) for finding in evaluated(engine, rules, ref)] == [1, 1]


@pytest.mark.parametrize("modifier", ["", "|cased", "|contains"])
def test_a_hostile_text_cannot_hang_a_wildcard(engine: Engine, tmp_path: Path, modifier: str) -> None:
    """Many wildcards against a text that makes them try for long are done in no time."""
    rules = loaded(tmp_path, event({f"Image{modifier}": "*a" * 200 + "*b?"}))
    ref = Recorder(engine).snapshot(*(count(executable="a" * (4096 - n), port=n + 1) for n in range(10)))
    before = time.perf_counter()
    assert evaluated(engine, rules, ref) == []
    assert time.perf_counter() - before < 5
