"""`detector rules enable`, `disable`, `tune` and `show`: what operators change about rules, and how they name them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from click.shell_completion import ShellComplete
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from detector.alerts.book import AlertBook
from detector.cli.program import program
from detector.config import Models
from detector.domain import Losses
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.documents import parse_documents
from detector.ruleset.exclusions import filter_text
from detector.ruleset.load import load_rules
from detector.ruleset.quoting import quoted
from detector.store.engine import writing
from detector.store.tables import alerts
from tests.builders import Recorder, count
from tests.cli.test_rules import _ID, _rule

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.ruleset.load import LoadedRules
    from tests.cli.conftest import Call

_PAIR = (
    _rule(1, title="Base").replace("status", "name: base\nstatus")
    + "---\n"
    + """\
title: Many of them
id: 7a1e5b9c-6d3e-4c2f-8f6d-5b2a4e8d9c33
level: medium
correlation: {type: event_count, rules: [base], group-by: [User], timespan: 5m, condition: {gte: 2}}
falsepositives: [Backups]
"""
)

_PROGRAM = Path(sys.executable).with_name("detector")


@pytest.fixture
def shipped_like(tmp_path: Path) -> Path:
    """A folder of two files that comes first."""
    path = tmp_path / "shipped"
    path.mkdir()
    (path / "pair.yml").write_text(_PAIR)
    (path / "nc.yml").write_text(_rule(3, title="Netcat connects"))
    return path


@pytest.fixture
def mine(tmp_path: Path, shipped_like: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, which is named last, and is not there yet but for its own name."""
    path = tmp_path / "mine"
    path.mkdir()
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(shipped_like), str(path)]))
    monkeypatch.setenv("SUDO_USER", "alice")
    return path


def _loaded(*places: Path) -> LoadedRules:
    loaded = load_rules(places)
    assert loaded.faults == ()
    return loaded


def _disabled(mine: Path) -> list[dict[str, object]]:
    return [
        {name: str(value) for name, value in entry.items() if name != "date"}
        for entry in yaml.safe_load((mine / "disabled.yml").read_text())["disabled"]
    ]


@pytest.mark.parametrize("named", [_ID.format(3), _ID.format(3).upper(), "nc", "nc.yml", "netcat connects"])
def test_a_rule_has_many_names(call: Call, mine: Path, named: str) -> None:
    """Its id, file and title, in whatever case."""
    assert call("rules", "disable", named, "--reason", "noise").out.splitlines()[-1] == (
        "disabled: Netcat connects (5b0a1c1e)"
    )
    assert _disabled(mine) == [{"id": _ID.format(3), "author": "alice", "reason": "noise"}]


def test_a_name_that_is_none_is_refused(call: Call, mine: Path) -> None:
    """With the nearest that there is; the beginning of several ids with all of them; a file of several rules is the one
    that reports.
    """
    result = call("rules", "disable", "pari", "--reason", "x")
    assert (result.code, result.err) == (1, "detector: there is no rule 'pari'\n  did you mean pair?\n")
    (mine / "four.yml").write_text(_rule(4))
    several = call("rules", "disable", "5b0a1c1e", "--reason", "x")
    assert several.err.splitlines() == [
        "detector: '5b0a1c1e' is 2 rules",
        f"  {_ID.format(4)}  Rule 4",
        f"  {_ID.format(3)}  Netcat connects",
    ]
    assert "Many of them (7a1e5b9c)" in call("rules", "disable", "pair", "--reason", "x").out


@pytest.mark.usefixtures("store")
def test_what_is_disabled_is_enabled_again(call: Call, mine: Path, shipped_like: Path) -> None:
    """What people wrote into the file stays; saying it again changes the entry; the last one takes the file along."""
    assert call("rules", "disable", "nc", "--reason", "first: #1", "--until", "2099-12-31").code == 0
    path = mine / "disabled.yml"
    path.chmod(0o600)
    path.write_text(path.read_text() + "  # a word of mine\n")
    assert call("rules", "disable", "pair", "--reason", "x", "--author", "bob").code == 0
    assert call("rules", "disable", "nc", "--reason", "second").code == 0
    assert [(entry["author"], entry["reason"]) for entry in _disabled(mine)] == [("bob", "x"), ("alice", "second")]
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(rule.produces_findings for rule in _loaded(shipped_like, mine).ruleset.rules)
    states = {each["title"]: (each["state"], each["why"]) for each in json.loads(call("rules", "list", "--json").out)}
    assert states["Netcat connects"] == ("disabled", "by alice: second")
    assert call("rules", "enable", "nc").code == 0
    assert [entry["author"] for entry in _disabled(mine)] == ["bob"]
    assert call("rules", "enable", "pair").code == 0
    assert not path.exists()
    again = call("rules", "enable", "pair")
    assert (again.code, again.err) == (0, "Many of them (7a1e5b9c) is not disabled; it is active\n")


def test_a_change_with_a_fault_is_not_written(call: Call, mine: Path) -> None:
    """The loader looks at it first: an end that is none, a field that is none, a value that none has."""
    result = call("rules", "disable", "nc", "--reason", "x", "--until", "soon")
    assert result.code == 65
    assert re.match(rf"{mine}/disabled.yml:7: until is no time: 'soon'", result.err)
    for words, fault in (("Usr=root", "unknown field 'Usr'"), ("DestinationPort=80a", "is a whole number, not '80a'")):
        result = call("rules", "tune", "nc", "--exclude", words, "--reason", "x")
        assert result.code == 65
        assert fault in result.err
    assert list(mine.iterdir()) == []


@pytest.mark.usefixtures("mine")
def test_what_is_missing_is_asked_for(call: Call) -> None:
    """A reason, what to pass over, and of which rule: without a terminal the call is refused."""
    assert "say why" in call("rules", "disable", "nc").err
    assert "say what to pass over" in call("rules", "tune", "nc", "--reason", "x").err
    assert "say which rule" in call("rules", "tune", "--exclude", "User=root", "--reason", "x").err
    assert "write Field=value" in call("rules", "tune", "nc", "--exclude", "User", "--reason", "x").err


def test_tuning_writes_a_filter(call: Call, mine: Path, shipped_like: Path) -> None:
    """All of several fields, any of several values; with modifiers, an author, a reason and an end."""
    excluded = ("User=backup", "User=carol", "DestinationIp|cidr=10.0.0.0/8", "Initiated=true")
    for port in (22, 23):
        words = [part for each in (*excluded, f"DestinationPort={port}") for part in ("--exclude", each)]
        result = call("rules", "tune", "nc", *words, "--reason", "it is meant to", "--until", "2099-12-31")
        assert result.code == 0, result.err
    assert sorted(path.name for path in mine.iterdir()) == [f"netcat_connects.filter{number}.yml" for number in (1, 2)]
    written = yaml.safe_load((mine / "netcat_connects.filter1.yml").read_text())
    assert written["filter"] == {
        "rules": [_ID.format(3)],
        "selection": {
            "User": ["backup", "carol"],
            "DestinationIp|cidr": "10.0.0.0/8",
            "DestinationPort": 22,
            "Initiated": True,
        },
        "condition": "not selection",
    }
    assert (written["author"], written["description"]) == ("alice", "it is meant to")
    (rule,) = [rule for rule in _loaded(shipped_like, mine).ruleset.rules if rule.filters]
    assert (rule.title, len(rule.filters)) == ("Netcat connects", 2)


def _detect(engine: Engine, places: list[Path]) -> None:
    stages = Stages(
        scorer=HostScorer(Models()), ruleset=_loaded(*places).ruleset, alert_book=AlertBook([], timedelta(hours=1))
    )
    for host_id in hosts_behind(engine):
        while detect_next(engine, host_id, stages) is not None:
            pass


def test_what_is_behind_an_alert_is_passed_over(call: Call, engine: Engine, mine: Path, shipped_like: Path) -> None:
    """The filter holds for all rows of the alert, with wildcards taken for what they are, and for little else."""
    recorder = Recorder(engine, unpacked=False)
    hostile = {"executable": "/tmp/*?\\nc/nc", "user": "*"}
    rows = [count(f"10.0.4.{i}", 22, **hostile) for i in range(3)]
    recorder.snapshot(*rows, count("10.0.4.1", 22, executable="/usr/bin/nc", user="bob"))
    _detect(engine, [shipped_like])
    titles = [each["summary"] for each in json.loads(call("alerts", "list", "--json").out)]
    (number,) = [
        each["alert_id"]
        for each in json.loads(call("alerts", "list", "--json").out)
        if each["group"].get("executable") == hostile["executable"]
    ]
    assert len(titles) > 1
    result = call("rules", "tune", "--from-alert", str(number), "--reason", "a test", "--yes")
    assert result.code == 0, result.err
    (path,) = mine.iterdir()
    selection = yaml.safe_load(path.read_text())["filter"]["selection"]
    assert selection == {
        "Initiated": True,
        "LoginUser": "alice",
        "User": "\\*",
        "Image": "/tmp/\\*\\?\\\\nc/nc",
        "Unit": "user-1000.slice",
        "Protocol": "tcp",
        "DestinationIp": ["10.0.4.0", "10.0.4.1", "10.0.4.2"],
        "DestinationPort": 22,
    }
    before = len(titles)
    recorder.snapshot(*rows, count("10.0.4.1", 22, executable="/tmp/xx/nc/nc", user="bob"))
    _detect(engine, [shipped_like, mine])
    news = json.loads(call("alerts", "list", "--json").out)
    assert len(news) > before
    assert all(each["finding_count"] == 1 for each in news if each["group"].get("executable") == hostile["executable"])


def test_a_filter_is_about_the_rules_that_saw_the_same(call: Call, engine: Engine, mine: Path) -> None:
    """Else they would tell of it in place of the alert's own; those that are there no more are left out."""
    (mine / "tool.yml").write_text(_rule(5, title="Tool"))
    (mine / "other.yml").write_text(_rule(6, title="Other"))
    Recorder(engine, unpacked=False).snapshot(count(executable="/usr/bin/nc"))
    _detect(engine, [mine])
    tool, other = map(_ID.format, (5, 6))
    seen = {other: "Other", "gone": "Gone"}
    with writing(engine) as connection:
        connection.execute(update(alerts).where(alerts.c.rule_id == tool).values(also_seen_by=seen))
    (number,) = [
        each["alert_id"] for each in json.loads(call("alerts", "list", "--json").out) if each["rule_id"] == tool
    ]
    assert call("rules", "tune", "--from-alert", str(number), "--reason", "a test", "--yes").code == 0
    (written,) = mine.glob("*.filter*.yml")
    assert yaml.safe_load(written.read_text())["filter"]["rules"] == [tool, other]


def test_without_rows_the_group_of_an_alert_counts(call: Call, engine: Engine, mine: Path) -> None:
    """An alert about capture has none."""
    assert call("rules", "tune", "--from-alert", "7", "--reason", "x").err.startswith("detector: there is no alert 7")
    capture = (
        _rule(5, title="Lost").replace("network_connection", "capture").replace("Image|endswith: /nc", "Lost|gt: 0")
    )
    (mine / "lost.yml").write_text(capture)
    Recorder(engine, host="web*1", unpacked=False).snapshot(losses=Losses(missed=1))
    _detect(engine, [mine])
    assert call("rules", "tune", "--from-alert", "1", "--reason", "x").code == 0
    written = yaml.safe_load((mine / "lost.filter1.yml").read_text())
    assert written["filter"]["selection"] == {"Host": "web\\*1"}


@pytest.mark.usefixtures("store")
def test_who_may_not_write_is_told_so(mine: Path) -> None:
    """The fault names the file and the remedy, and leaves nothing behind."""
    mine.chmod(0o555)
    # Root, which the tests run as, may write everywhere otherwise.
    detector = ["setpriv", "--bounding-set=-dac_override", str(_PROGRAM), "rules", "disable", "nc", "--reason", "x"]
    result = subprocess.run(detector, check=False, capture_output=True, text=True)
    assert result.returncode == 73
    remedy = "rules are changed by whoever may write there: try it with sudo"
    assert result.stderr == f"detector: {mine}/disabled.yml: Permission denied\n  {remedy}\n"
    assert list(mine.iterdir()) == []


@pytest.mark.usefixtures("store", "mine")
def test_a_rule_is_shown(call: Call, shipped_like: Path) -> None:
    """What it is, where it is, what it looks at in words, what it passes over, and its text."""
    call("rules", "tune", "pair", "--exclude", "User|startswith=back", "--reason", "meant to")
    shown = call("rules", "show", "pair")
    assert shown.code == 0
    for line in (
        "Many of them (medium, correlation)",
        "state         active",
        f"file          {shipped_like}/pair.yml:17",
        "counts        event_count of base",
        "group-by      User",
        "condition     gte 2",
        "false alarms  Backups",
        "findings      0 in 24 h, 0 in 30 d, the last never",
        f"{shipped_like}/pair.yml:",
    ):
        assert line in shown.lines
    assert "passes over   Many of them, but not: meant to (by alice: meant to)" in shown.out
    base = call("rules", "show", "base").out
    assert "selection  Image ends with /nc" in base
    objects = json.loads(call("rules", "show", "pair", "--json").out)
    assert objects["filters"][0]["reason"] == "meant to"
    assert objects["text"] == _PAIR


@pytest.mark.usefixtures("mine")
def test_rules_are_measured(call: Call, engine: Engine) -> None:
    """`--cost` looks at the newest snapshot with each rule that reports."""
    assert "nothing to measure with" in call("rules", "list", "--cost").err
    Recorder(engine, unpacked=False).snapshot(count())
    _detect(engine, [])
    costs = {each["title"]: each["cost_ms"] for each in json.loads(call("rules", "list", "--cost", "--json").out)}
    assert costs["Base"] is None
    assert costs["Many of them"] > 0


@pytest.mark.usefixtures("mine")
def test_the_shell_completes_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and names; ids once they are begun."""

    def completed(begun: str) -> list[str]:
        return [
            item.value
            for item in ShellComplete(program, {}, "detector", "_X").get_completions(["rules", "show"], begun)
        ]

    assert completed("") == ["base", "nc", "pair"]
    assert completed("n") == ["nc"]
    assert completed("5b") == [_ID.format(1), _ID.format(3)]
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", "broken")
    assert completed("") == []


@given(st.text(), st.text(min_size=1))
def test_any_text_is_quoted(text: str, reason: str) -> None:
    """YAML gives back what went in, but for what no text of a rule may hold; titles stay one comment."""
    content = yaml.safe_load(f"x: {quoted(text)}\n")["x"] if text.isprintable() else text
    assert content == text
    written = filter_text(
        {"User": text or "x"},
        rule=(_ID.format(1), text),
        category="network_connection",
        author="a",
        reason=reason,
        day=date(2026, 3, 2),
        until="",
    )
    documents, faults = parse_documents("x.yml", written)
    if not faults:
        assert documents[0].content["description"] == reason
        assert documents[0].content["filter"]["rules"] == [_ID.format(1)]
    else:
        assert all("holds a character that no text has" in str(fault) for fault in faults)
