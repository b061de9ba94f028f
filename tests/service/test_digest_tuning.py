"""What is suggested about rules: each time with its reason, and as a command that a shell takes as it is."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import shipped
from detector.domain import Severity
from detector.ruleset.load import load_rules
from detector.service.digest_tuning import for_noisy, for_quiet, names
from detector.store.period_alerts import CommonGroup, RuleOpened

DAY = timedelta(days=1)


def opened(**values: Any) -> RuleOpened:
    """Eight alerts of a rule."""
    eight: dict[str, Any] = {"rule_id": "r", "alerts": 8, "findings": 30, "benign": 0, "true": 0}
    return RuleOpened(title="Rule", severity=Severity.LOW, **eight | values)


@pytest.mark.parametrize(
    ("rule", "common", "benign", "command", "because"),
    [
        (opened(), CommonGroup(alerts=5, newest=12), None, "detector rules tune --from-alert 12", "5 of 8 are about"),
        (opened(benign=2), None, 9, "detector rules tune --from-alert 9", "2 of 8 were called benign"),
        (opened(benign=8), None, 9, "detector rules disable scan --reason 'all benign'", "all 8 were called benign"),
        (opened(true=1), CommonGroup(alerts=5, newest=12), None, "", "1 of 8 was called true"),
        (opened(true=2), CommonGroup(alerts=5, newest=12), None, "", "2 of 8 were called true"),
        (opened(), CommonGroup(alerts=1, newest=12), None, "detector rules edit scan", "8 a day"),
        (opened(alerts=4), CommonGroup(alerts=1, newest=12), None, "", "about different things"),
        (opened(alerts=3), CommonGroup(alerts=3, newest=12), None, "", "few enough"),
        (
            opened(rule_id=shipped.ANOMALY_RULE),
            CommonGroup(alerts=1, newest=12),
            None,
            "detector alerts benign 12",
            "moves the threshold",
        ),
    ],
)
def test_a_noisy_rule(
    rule: RuleOpened, common: CommonGroup | None, benign: int | None, command: str, because: str
) -> None:
    """By what people said of its alerts, and by what these have in common."""
    why, suggested = for_noisy(rule, common, benign, "scan", DAY)
    assert suggested == command
    assert because in why


def test_a_rule_that_is_gone_is_not_tuned() -> None:
    """It was removed or disabled since."""
    assert for_noisy(opened(), CommonGroup(alerts=8, newest=1), None, None, DAY) == ("it is not in force any more", "")


def test_shipped_rules_are_called_by_their_files() -> None:
    """Which is what an operator reads in `rules list`; each name is one rule's alone."""
    rules = load_rules([shipped.folder("rules")])
    called = names(rules.entries)
    assert called["faecaa28-1ee8-452a-b277-b03614c252cc"] == "vertical_scan"
    assert len(set(called.values())) == len(called)


def test_nobody_is_advised_to_switch_off_what_is_grave() -> None:
    """That such a rule finds nothing is as it should be; whether it would have can be tried."""
    test = "detector rules test irc_contact --since 30d"
    assert for_quiet("irc_contact", Severity.MEDIUM) == (
        test,
        "detector rules disable irc_contact --reason 'never here'",
    )
    for severity in (Severity.HIGH, Severity.CRITICAL):
        assert for_quiet("irc_contact", severity) == (test, "")
    assert for_quiet("", Severity.LOW) == ("", "")


@given(
    counts=st.fixed_dictionaries({name: st.integers(0, 50) for name in ("benign", "true")}),
    more=st.integers(1, 50),
    common=st.one_of(st.none(), st.builds(CommonGroup, alerts=st.integers(1, 50), newest=st.integers(1, 10**6))),
    rule=st.one_of(st.none(), st.just(""), st.just("scan")),
)
def test_whatever_is_suggested_is_one_command(
    counts: dict[str, int], more: int, common: CommonGroup | None, rule: str | None
) -> None:
    """There is always a reason, and a command is one of ours with plain words."""
    alerts = sum(counts.values()) + more
    benign = 7 if counts["benign"] else None
    why, command = for_noisy(opened(alerts=alerts, **counts), common, benign, rule, DAY)
    assert why
    if command:
        assert shlex.split(command)[:2] in (["detector", "rules"], ["detector", "alerts"])
