"""`detector rules tune` on a terminal: what a filter would have passed over, before it is confirmed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.builders import Recorder, count
from tests.cli.terminals import Terminal
from tests.cli.test_rules import _ID, _rule

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_COUNTING = """\
title: Many of them
id: 7a1e5b9c-6d3e-4c2f-8f6d-5b2a4e8d9c33
level: medium
correlation: {type: event_count, rules: [base], group-by: [User], timespan: 5m, condition: {gte: 2}}
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> Path:
    """A folder with a rule that counts and one that is counted, and alerts of both of a while ago."""
    folder = tmp_path / "rules"
    folder.mkdir()
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(folder)]))
    (folder / "nc.yml").write_text(_rule(3, title="Netcat connects"))
    base = _rule(1, title="Base").replace("status", "name: base\nstatus")
    (folder / "base.yml").write_text(f"{base}---\n{_COUNTING}")
    recorder = Recorder(engine, now=datetime.now(UTC) - timedelta(days=2))
    for user in ("alice", "bob", "bob"):
        recorder.pass_time(hours=2)
        recorder.snapshot(count(user=user, login_user=user, executable="/usr/bin/nc", attempted=2))
    return folder


def _tuned(*arguments: str, answer: str = "n") -> tuple[int, str]:
    with Terminal("rules", "tune", *arguments, "--reason", "meant to") as terminal:
        seen = terminal.expect("write it to")
        terminal.type(answer)
        code, _ = terminal.end()
    return code, seen


def test_it_is_shown_what_a_filter_would_have_passed_over(rules: Path) -> None:
    """How many alerts and findings, and the largest of them; then it is asked, and no means no."""
    code, seen = _tuned("nc", "--exclude", "User=bob")

    assert "was 3 alerts in 30 days, would be 1" in seen
    assert "2 no longer there:" in seen
    assert seen.count("login_user=bob") == 2
    assert "it passes over 2 of 3 findings" in seen
    assert code != 0
    assert not list(rules.glob("*.filter*"))


def test_it_is_said_when_nothing_would_be_left_or_nothing_is_passed_over(rules: Path) -> None:
    """Either is likely a mistake; whoever means it says yes."""
    _, nothing = _tuned("nc", "--exclude", "User=carol")
    code, everything = _tuned("nc", "--exclude", "Initiated=true", answer="y")

    assert "it passes nothing over of what was found" in nothing
    assert "it passes over all that was found (3 findings)" in everything
    assert code == 0
    assert len(list(rules.glob("*.filter*"))) == 1


@pytest.mark.usefixtures("rules")
def test_what_counts_the_rule_is_shown_too() -> None:
    """A filter of a rule that only feeds a correlation takes from what that finds."""
    _, seen = _tuned(_ID.format(1), "--exclude", "User=bob")

    assert "was 3 alerts in 30 days, would be 1" in seen


@pytest.mark.usefixtures("rules")
def test_nothing_is_looked_at_if_nobody_wants_it() -> None:
    """`--no-test` asks at once."""
    _, seen = _tuned("nc", "--exclude", "User=bob", "--no-test")

    assert "would be" not in seen


def test_what_is_over_already_is_refused(call: Call, rules: Path) -> None:
    """Neither a filter nor a disabled rule ends in the past: it would be said that it was done, and do nothing."""
    tuned = call("rules", "tune", "nc", "--exclude", "User=bob", "--reason", "x", "--until", "2020-01-01")
    disabled = call("rules", "disable", "nc", "--reason", "x", "--until", "2020-01-01T10:00:00Z")

    assert (tuned.code, disabled.code) == (2, 2)
    assert "2020-01-01 is over" in tuned.err
    assert "2020-01-01T10:00:00Z is over" in disabled.err
    assert sorted(each.name for each in rules.glob("*.yml")) == ["base.yml", "nc.yml"]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("new_terms: {fields: [User, DestinationIp], window: 3d}", "User, DestinationIp, not seen together for 3d"),
        (
            "baseline: {factor: 2, window: 7d, minimum: 10, field: Refused}",
            "Refused of an hour, from 2 times the mean of 7d and 10",
        ),
    ],
)
def test_it_is_shown_what_a_rule_remembers(call: Call, rules: Path, section: str, line: str) -> None:
    """In words, beside what the rule is grouped by."""
    (rules / "nc.yml").write_text(f"{_rule(3, title='Netcat connects')}x-detector: {{{section}, group_by: [User]}}\n")

    shown = call("rules", "show", "nc").out

    assert line in shown
    assert "grouped by" in shown
