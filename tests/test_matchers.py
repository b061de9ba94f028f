"""What silences are about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.domain import Severity
from detector.matchers import (
    FIELDS,
    Facts,
    Matcher,
    MatcherError,
    Operator,
    as_stored,
    facts_of,
    from_stored,
    hold,
    is_broad,
    of_group,
    parse,
)


def _facts(values: dict[str, set[str]]) -> Facts:
    return facts_of(host="bastion-1", rule=("5f0c", "Port scan"), severity=Severity.HIGH, group={}, values=values)


@pytest.mark.parametrize(
    ("written", "values", "holds"),
    [
        ("host=bastion-1", {}, True),
        ("host=bastion-2", {}, False),
        ("host=~bastion-.*", {}, True),
        ("host=~bastion", {}, False),
        ("rule=5f0c", {}, True),
        ("rule_title=~Port.*", {}, True),
        ("severity=high", {}, True),
        ("user=alice", {"user": {"alice"}}, True),
        ("user=alice", {"user": {"alice", "mallory"}}, False),
        ("user=~alice|bob", {"user": {"alice", "bob"}}, True),
        ("user!=root", {"user": {"alice"}}, True),
        ("user!=root", {"user": {"alice", "root"}}, False),
        ("user!~r.*", {"user": {"alice"}}, True),
        ("user!~r.*", {"user": {"root"}}, False),
        ("remote_address=10.0.0.0/8", {"address": {"10.0.4.12", "10.9.9.9"}}, True),
        ("remote_address=10.0.0.0/8", {"address": {"10.0.4.12", "192.0.2.1"}}, False),
        ("remote_address=10.0.0.0/8", {"address": {"10.0.4.12"}, "unaddressed": {"1"}}, False),
        ("remote_address=fd00::/8", {"address": {"fd00::1"}}, True),
        ("remote_address=fd00::/8", {"address": {"10.0.4.12"}}, False),
        ("remote_address!=10.0.0.0/8", {"address": {"192.0.2.1"}}, True),
        ("remote_port=22", {"port": {"22"}, "direction": {"outbound"}}, True),
        ("local_port=22", {"port": {"22"}, "direction": {"outbound"}}, False),
        ("local_port=22", {"port": {"22"}, "direction": {"inbound"}}, True),
        ("remote_port=22", {"port": {"22"}, "direction": {"inbound", "outbound"}}, False),
        ("login_user=", {}, True),
        ("login_user=", {"login_user": {"alice"}}, False),
        ("login_user!=", {}, False),
        ("login_user!=", {"login_user": {"alice"}}, True),
        ("login_user!=root", {}, False),
        ("login_user=~.*", {}, False),
    ],
)
def test_a_matcher_holds_for_all_of_an_alert_or_not(written: str, values: dict[str, set[str]], holds: bool) -> None:
    """One row that is about somebody else, or of which it is not known, and the alert is told."""
    assert parse(written).holds(_facts(values)) is holds


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("backup", "write FIELD=VALUE"),
        ("=backup", "write FIELD=VALUE"),
        ("login_usr=backup", "did you mean login_user?"),
        ("zzz=1", "write one of: host, rule"),
        ("remote_address=10.0.0.0/40", "write 10.0.4.12 or 10.0.0.0/8"),
        ("severity=bad", "informational, low, medium, high, critical"),
        ("direction=out", "is no direction; write one of: outbound, inbound"),
        ("protocol!=TCP", "is no protocol; write one of: tcp, sctp"),
        ("remote_port=ssh", "is no port"),
        ("user=~(", "is no regular expression"),
        (r"user=~(a)\1", "is no regular expression"),
        (f"user={'x' * 1001}", "write a shorter one"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_to_write(written: str, says: str) -> None:
    """Before it mutes anything, or nothing."""
    with pytest.raises(MatcherError) as fault:
        parse(written)
    assert says in str(fault.value)


@pytest.mark.parametrize(
    ("written", "broad"),
    [
        (["host=bastion-1"], True),
        (["host=bastion-1", "severity=low"], True),
        (["user=~.*"], True),
        (["user!=root"], True),
        (["remote_address=0.0.0.0/0"], True),
        (["host=bastion-1", "user=backup"], False),
        (["rule=5f0c"], False),
        (["remote_address=10.0.0.0/8"], False),
    ],
)
def test_a_silence_about_nothing_in_particular_is_noticed(written: list[str], broad: bool) -> None:
    """All of a host, all that is not bad, everything but: none of it says what is meant."""
    assert is_broad([parse(each) for each in written]) is broad


_TEXTS = st.text(max_size=20)


@given(host=_TEXTS, rule=_TEXTS, group=st.dictionaries(st.sampled_from(FIELDS[4:]), st.none() | _TEXTS, max_size=4))
def test_what_is_made_of_an_alert_holds_for_it(host: str, rule: str, group: dict[str, Any]) -> None:
    """Whatever names there are: the narrowest matchers of an alert mute it and its like, and no other host's."""
    group = {name: "10.0.0.1" if name.endswith("_address") else value for name, value in group.items()}
    matchers = of_group(host, rule, group)
    values = {"user": {"somebody"}}
    assert hold(matchers, facts_of(host=host, rule=(rule, ""), severity=Severity.LOW, group=group, values=values))
    other = facts_of(host=f"{host}x", rule=(rule, ""), severity=Severity.LOW, group=group, values=values)
    assert not hold(matchers, other)


_IDS = st.text(min_size=1, max_size=20)


@given(rules=st.lists(_IDS, min_size=1, max_size=3), other=_IDS)
def test_rules_that_saw_the_same_are_muted_too(rules: list[str], other: str) -> None:
    """Whatever their ids are, and no other rule."""
    matchers = of_group("bastion-1", rules[0], {}, rules[1:])
    for rule in (*rules, other):
        facts = facts_of(host="bastion-1", rule=(rule, ""), severity=Severity.LOW, group={}, values={})
        assert hold(matchers, facts) is (rule in rules)


@given(st.lists(st.builds(Matcher, st.sampled_from(FIELDS), st.sampled_from([Operator.IS, Operator.IS_NOT]), _TEXTS)))
def test_matchers_come_back_from_the_store(matchers: list[Matcher]) -> None:
    """As they were written."""
    assert list(from_stored(as_stored(matchers))) == matchers
