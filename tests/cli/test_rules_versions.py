"""`detector rules new`, `diff` and `rollback`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from detector import shipped
from detector.alerts.book import AlertBook
from detector.cli.rule_files import edited_alone, place_of, put
from detector.config import load
from detector.ruleset import versions
from detector.ruleset.load import load_rules
from detector.store.engine import reading, writing
from tests.builders import Recorder, count
from tests.cli.terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_RULE = """\
title: Telnet
id: 5b0a1c1e-6d0c-4f43-9d2f-2f6f2c1d0e01
level: high
logsource:
  category: network_connection
  product: linux
detection:
  selection:
    DestinationPort: {}
  condition: selection
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> Path:
    """The user's folder, beside the rules that ship."""
    assert store
    folder = tmp_path / "rules"
    folder.mkdir()
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(shipped.folder("rules")), str(folder)]))
    return folder


def _change(path: Path, text: str) -> None:
    settings = load(None)
    place = place_of(settings, path)
    with edited_alone(place):
        put(settings, place, text)


def test_a_copy_is_compared_with_what_ships(call: Call, own: Path) -> None:
    """As a unified diff; without a copy or a version there is nothing to compare with."""
    text = (shipped.folder("rules") / "vertical_scan.yml").read_text()
    (own / "scan.yml").write_text(text.replace("gte: 20", "gte: 30"))

    copy, nothing = call("rules", "diff", "scan"), call("rules", "diff", "first_contact")

    assert copy.code == 0
    assert copy.lines[:2] == [f"--- {shipped.folder('rules')}/vertical_scan.yml", f"+++ {own}/scan.yml"]
    assert [line for line in copy.lines[2:] if line[0] in "+-"] == ["-    gte: 20", "+    gte: 30"]
    assert nothing.code == 1
    assert "there is nothing earlier" in nothing.err


def test_a_rule_goes_back_to_what_it_was(call: Call, own: Path) -> None:
    """To the last version or a named one; what it was in between is kept too, so that this can be taken back."""
    path = own / "telnet.yml"
    path.write_text(_RULE.format(21))
    for port in (22, 23):
        _change(path, _RULE.format(port))
    newest, oldest = call("rules", "rollback", "telnet", "--list").out.split()

    difference = call("rules", "diff", "telnet", "--version", oldest)
    back = call("rules", "rollback", "telnet", "--to", oldest, "--yes")
    text = path.read_text()
    again = call("rules", "rollback", "telnet", "--yes")

    assert newest > oldest
    assert {"-    DestinationPort: 21", "+    DestinationPort: 23"} <= set(difference.lines)
    assert (back.code, text) == (0, _RULE.format(21))
    assert (again.code, path.read_text()) == (0, _RULE.format(23))
    assert call("rules", "rollback", "telnet").code == 2
    assert call("rules", "rollback", "telnet", "--to", "1999", "--yes").code == 1


def test_a_version_with_faults_is_not_put_back(call: Call, own: Path) -> None:
    """What was sound for an older detector may not be today."""
    path = own / "telnet.yml"
    path.write_text(_RULE.format(21).replace("DestinationPort", "Port"))
    versions.keep(own, path)
    path.write_text(_RULE.format(23))

    result = call("rules", "rollback", "telnet", "--yes")

    assert result.code == 65
    assert "unknown field 'Port'" in result.err
    assert path.read_text() == _RULE.format(23)


def test_the_last_twenty_versions_are_kept(own: Path) -> None:
    """Each under its time, and the loader reads none of them."""
    path = own / "telnet.yml"
    for port in range(1, 26):
        path.write_text(_RULE.format(port))
        versions.keep(own, path)

    kept = versions.versions(own, path)

    assert {each.text() for each in kept} == {_RULE.format(port) for port in range(6, 26)}
    assert kept[0].text() == _RULE.format(25)
    assert len([rule for rule in load_rules([own]).ruleset.rules if rule.title == "Telnet"]) == 1


@pytest.mark.parametrize("kind", ["event", "count", "values", "capture"])
def test_a_template_is_a_sound_rule(call: Call, own: Path, kind: str) -> None:
    """Of each kind, with an id of its own; a second one of the name is refused."""
    new = ("rules", "new", "odd-port", "--kind", kind, "--no-edit")

    result, again = call(*new), call(*new)

    assert result.code == 0, result.err
    assert call("rules", "check", own).code == 0
    assert 'title: "Odd port"' in (own / "odd-port.yml").read_text()
    assert again.code == 73
    assert "is there already" in again.err
    assert call("rules", "new", "../odd", "--no-edit").code == 2


def test_a_rule_from_an_alert_matches_its_rows(call: Call, engine: Engine, own: Path) -> None:
    """It holds for all rows behind the alert, and for no others that were there."""
    recorder = Recorder(engine)
    rule = own / "telnet.yml"
    rule.write_text(_RULE.format(23))
    ruleset = load_rules([own]).ruleset
    telnet = [count(f"192.0.2.{each}", 23) for each in range(3)]
    ref = recorder.snapshot(*telnet, count(), count("::1"))
    with writing(engine) as connection:
        AlertBook([], timedelta(0)).record(connection, ref, ruleset.evaluate(connection, ref))

    result = call("rules", "new", "again", "--from-alert", "1", "--no-edit")

    assert result.code == 0, result.err
    written = yaml.safe_load((own / "again.yml").read_text())
    assert written["detection"]["selection"]["DestinationIp"] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    made = load_rules([own / "again.yml"]).ruleset
    with reading(engine) as connection:
        (one,), (other,) = (rules.evaluate(connection, ref) for rules in (ruleset, made))
    assert one.evidence == other.evidence
    assert call("rules", "new", "third", "--from-alert", "7", "--no-edit").code == 1


def test_a_new_rule_begins_in_the_editor(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that is left as it is can be put in force as well, once it is confirmed."""
    monkeypatch.setenv("VISUAL", "true")

    with Terminal("rules", "new", "odd_port") as terminal:
        terminal.expect("would be 0 alerts in 30 days")
        terminal.expect("put it in force")
        terminal.type("y")
        code, out = terminal.end()

    assert code == 0, out
    assert load_rules([own]).faults == ()
    assert [rule.title for rule in load_rules([own]).ruleset.rules] == ["Odd port"]
