"""`detector rules test`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

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
    DestinationPort: 23
  condition: selection
"""


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rule in the one folder that is configured."""
    folder = tmp_path / "rules"
    folder.mkdir()
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(folder)]))
    path = folder / "telnet.yml"
    path.write_text(_RULE)
    return path


@pytest.fixture
def recorder(engine: Engine) -> Recorder:
    """Alice's telnet two days ago, and three times, within a minute, an hour ago."""
    recorder = Recorder(engine, now=datetime.now(UTC).replace(microsecond=0) - timedelta(days=2))
    recorder.snapshot(count("192.0.2.1", 23))
    recorder.now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    for each in range(3):
        recorder.snapshot(count(f"192.0.2.{each}", 23), count())
    return recorder


@pytest.mark.usefixtures("recorder")
def test_it_is_said_what_a_rule_would_have_found(call: Call, rule: Path) -> None:
    """How much, on which days, the largest alerts with who and where, and how far it looked back."""
    result = call("rules", "test", "telnet", "--since", "30d")

    assert result.code == 0
    lines = result.lines
    assert lines[0] == f"Telnet (high, event; {rule}:1)"
    assert lines[1].startswith("looked at 4 snapshots of 1 host, ")
    assert lines[2] == "that is 2 of 30 days; before that nothing was stored"
    assert lines[3] == "4 findings, 2 alerts"
    assert [re.split(r" {2,}", line)[1:] for line in lines[5:8]] == [["alerts", "findings"], ["1", "1"], ["1", "3"]]
    assert lines[10].endswith("bastion-1         3     3  login_user=alice, user=alice, executable=/usr/bin/ssh")


@pytest.mark.usefixtures("recorder")
def test_scripts_get_an_object_for_each_rule(call: Call, rule: Path) -> None:
    """With the alerts that there would be; `--limit` says how many, `--host` and `--since` what is looked at."""
    (found,) = json.loads(call("rules", "test", str(rule), "--since", "1d", "--limit", "1", "--json").out)
    (nowhere,) = json.loads(call("rules", "test", str(rule), "--host", "web-*", "--json").out)

    assert (found["findings"], found["alerts"], found["hosts"], found["snapshots"]) == (3, 1, 1, 3)
    assert [each["findings"] for each in found["days"]] == [3]
    (alert,) = found["largest"]
    assert alert["group"] == {"login_user": "alice", "user": "alice", "executable": "/usr/bin/ssh"}
    assert (nowhere["findings"], nowhere["hosts"], nowhere["start"]) == (0, 0, None)


@pytest.mark.usefixtures("recorder", "rule")
def test_a_file_that_is_not_in_force_can_be_tested(call: Call, tmp_path: Path) -> None:
    """Sound, it is tested as if it were; with a fault it is refused with path and line."""
    new = tmp_path / "new.yml"
    new.write_text(_RULE.replace("DestinationPort: 23", "DestinationPort: 22"))
    sound = call("rules", "test", str(new))
    new.write_text(_RULE.replace("DestinationPort", "Port"))
    faulty = call("rules", "test", str(new))

    assert sound.lines[3] == "3 findings, 1 alert"
    assert faulty.code == 65
    assert faulty.err.startswith(f"{new}:9: unknown field 'Port'")


@pytest.mark.usefixtures("store", "rule")
def test_nothing_stored_and_no_rule_are_said(call: Call) -> None:
    """An empty past is no fault; a name that no rule has is, with what is nearest to it."""
    empty, unknown = call("rules", "test", "telnet"), call("rules", "test", "telnett")
    elsewhere = call("rules", "test", "telnet", "--host", "web-*")

    assert (empty.code, empty.lines[1:]) == (0, ["there are no snapshots of that time", "0 findings, 0 alerts"])
    assert elsewhere.lines[1] == "there are no snapshots of that time of hosts 'web-*'"
    assert unknown.code == 1
    assert "did you mean telnet?" in unknown.err


@pytest.mark.usefixtures("recorder", "rule")
def test_ctrl_c_ends_it_quietly() -> None:
    """On a terminal, with progress, and without a word of Python."""
    with Terminal("rules", "test", "telnet") as terminal:
        terminal.expect("looking back")
        terminal.press(b"\x03")
        code, out = terminal.end()

    # It may have been through already.
    assert code in (0, 130)
    assert "Traceback" not in out


def test_rows_of_a_file_can_take_the_place_of_the_database(
    call: Call, recorder: Recorder, tmp_path: Path, rule: Path
) -> None:
    """What `query --json` prints is found again, and its scores are those that stand there; bad lines are refused."""
    rows = json.loads(call("query", "--since", "30d", "--json").out)
    for row in rows:
        row |= {"score": 0.99 if row["remote_address"] == "192.0.2.2" else 0.5, "channel": "novelty"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    rule.write_text(_RULE.replace("DestinationPort: 23", "DestinationPort: 23\n    AnomalyScore|gte: 0.9"))

    nothing = call("rules", "test", "telnet")
    (found,) = json.loads(call("rules", "test", "telnet", "--snapshots", path, "--json").out)
    path.write_text("{}\n")
    refused = call("rules", "test", "telnet", "--snapshots", path)

    assert recorder.host == "bastion-1"
    assert nothing.lines[-1] == "0 findings, 0 alerts"
    assert (found["findings"], found["alerts"]) == (1, 1)
    assert refused.code == 65
    assert f"{path}:1: " in refused.err


@pytest.mark.usefixtures("recorder")
def test_it_is_said_what_makes_no_alert_and_from_when_on_it_is_remembered(call: Call, rule: Path) -> None:
    """In words and for scripts: findings that a burn-in holds back, and how far back what is new is known."""
    terms = "x-detector: {new_terms: {fields: [User, DestinationIp], window: 7d}, burn_in: 1h}\n"
    rule.write_text(f"{_RULE}{terms}")

    said = call("rules", "test", "telnet")
    (told,) = json.loads(call("rules", "test", "telnet", "--json").out)

    assert "3 findings, 0 alerts" in said.lines
    assert "3 findings of these make no alert: the burn-in of the rule was not over" in said.lines
    assert "what the rule remembers begins " in said.out
    assert (told["findings"], told["alerts"], told["held"]) == (3, 0, 3)
    assert told["remembered_since"] is not None


def test_a_file_of_rows_has_no_burn_in(call: Call, rule: Path, tmp_path: Path, recorder: Recorder) -> None:
    """It does not tell for how long its hosts were watched."""
    assert recorder.host
    rule.write_text(f"{_RULE}x-detector: {{burn_in: 1h}}\n")
    rows = json.loads(call("query", "--since", "7d", "--json").out)
    (tmp_path / "incident.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    (told,) = json.loads(call("rules", "test", "telnet", "--snapshots", tmp_path / "incident.jsonl", "--json").out)

    assert (told["held"], told["alerts"] > 0) == (0, True)
