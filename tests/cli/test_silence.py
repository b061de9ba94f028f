"""`detector silence`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from detector.cli.checks import endings
from detector.ruleset.load import load_rules
from detector.store import alert_silences
from detector.store.engine import reading, writing
from tests.builders import Recorder, count, insert_alert
from tests.ruleset.writing import SOURCE, event, rule_id

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_SAID = ("--for", "2h", "--reason", "the migration", "--author", "alice")


@pytest.fixture
def past(engine: Engine) -> None:
    """Twelve alerts of today: eight of them alice's."""
    Recorder(engine).snapshot(count())
    for number in range(1, 13):
        who = "alice" if number <= 8 else "bob"
        insert_alert(engine, alert_id=number, end=datetime.now(UTC), group={"user": who, "remote_address": "10.0.4.12"})


@pytest.mark.usefixtures("past")
def test_what_it_would_have_muted_is_shown_first(call: Call) -> None:
    """By host and rule, with the last of them; a dry run writes nothing."""
    result = call("silence", "add", "user=bob", "remote_address=10.0.0.0/8", "--for", "2h", "--dry-run")

    assert result.code == 0
    assert result.lines[0] == "mutes alerts with: user=bob, remote_address=10.0.0.0/8"
    assert "in the last 30 days it would have muted 4 of 12 alerts (0 messages):" in result.lines
    assert "      4  bastion-1: Port scan of one destination" in result.lines
    assert [line.split(",")[0].strip() for line in result.lines if " alert " in line] == [
        f"alert {number}" for number in (12, 11, 10, 9)
    ]
    assert call("silence", "list").err.startswith("no silences are in force or to come; ")


@pytest.mark.usefixtures("past")
def test_a_silence_is_made_listed_and_ended(call: Call) -> None:
    """With its matchers, its end, who made it and why; and who has ended it."""
    made = json.loads(call("silence", "add", "user=bob", *_SAID, "--json").out)
    assert (made["silence_id"], made["would_have_muted"], made["author"]) == (1, [12, 11, 10, 9], "alice")

    (listed,) = json.loads(call("silence", "list", "--json").out)
    assert (listed["matchers"], listed["reason"], listed["state"]) == (["user=bob"], "the migration", "ends soon")
    assert "user=bob" in call("silence", "list").out

    assert call("silence", "expire", "1", "--author", "bob").out == "ended: silence 1\n"
    assert call("silence", "expire", "1").err == "silence 1 has ended already\n"
    assert json.loads(call("silence", "list", "--json").out) == []
    (ended,) = json.loads(call("silence", "list", "--all", "--json").out)
    assert (ended["state"], ended["expired_by"]) == ("ended by bob", "bob")


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize(
    ("matchers", "says"),
    [
        (["host=bastion-1"], "it mutes all alerts of a host, or of all"),
        (["user=~.*"], "it mutes all alerts of a host, or of all"),
        (["user=alice"], "would have muted 8 of 12 alerts, more than half"),
    ],
)
def test_a_silence_that_mutes_much_asks(call: Call, matchers: list[str], says: str) -> None:
    """Without anybody to ask it is refused, and --yes is the word."""
    refused = call("silence", "add", *matchers, *_SAID)
    assert (refused.code, says in refused.err, "narrow it, or say --yes" in refused.err) == (1, True, True)
    assert call("silence", "list").err.startswith("no silences are in force or to come; ")
    assert call("silence", "add", *matchers, *_SAID, "--yes").code == 0


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["login_usr=x", *_SAID], "did you mean login_user?"),
        (["user=bob", "--reason", "x"], "say when it ends"),
        (["user=bob", "--for", "2h", "--until", "2099-01-01", "--reason", "x"], "say when it ends"),
        (["user=bob", "--until", "2020-01-01", "--reason", "x"], "is over; write a time to come"),
        (["user=bob", "--for", "2y", "--reason", "x"], "write 30m, 2h, 7d or 2w"),
        (["user=bob", "--for", "999d", "--reason", "x"], "detector rules tune"),
        (["user=bob", "--for", "2h"], "say why"),
        (["--for", "2h"], "Missing argument"),
    ],
)
def test_what_is_missing_or_wrong_is_said(call: Call, words: list[str], says: str) -> None:
    """With what to write instead; nothing is muted."""
    result = call("silence", "add", *words)
    assert result.code == 2
    assert says in result.err
    assert call("silence", "list").err.startswith("no silences are in force or to come; ")


@pytest.mark.usefixtures("store")
def test_an_unknown_silence_is_a_fault(call: Call) -> None:
    """With where to look."""
    result = call("silence", "expire", "7")
    assert (result.code, result.err) == (1, "detector: there is no silence 7\n  see: detector silence list --all\n")


@pytest.mark.usefixtures("store")
def test_a_rule_is_named_as_elsewhere(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name; its id is what is kept."""
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(tmp_path)]))
    (tmp_path / "rule.yml").write_text(yaml.safe_dump(event({"DestinationPort": 1}, name="horizontal_scan")))
    made = json.loads(call("silence", "add", "rule=horizontal_scan", *_SAID, "--json").out)
    assert made["matchers"] == [f"rule={rule_id(1)}"]
    assert "there is no rule 'horizontal_scam'" in call("silence", "add", "rule=horizontal_scam", *_SAID).err


def test_planned_work_is_muted_from_its_beginning(call: Call, engine: Engine) -> None:
    """Until then it is to come."""
    begin = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    assert call("silence", "add", "user=bob", "--from", begin, *_SAID).code == 0
    with writing(engine) as connection:
        (silence,) = alert_silences.list_silences(connection)
    assert silence.ends_at - silence.starts_at == timedelta(hours=2)
    assert json.loads(call("silence", "list", "--json").out)[0]["state"] == "to come"


@pytest.mark.usefixtures("past")
def test_what_is_about_to_end_is_told(
    call: Call, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day before, what doctor says names silences and filters that end, with what to do; lists say until when."""
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(tmp_path)]))
    end = (datetime.now(UTC) + timedelta(hours=5)).isoformat(timespec="seconds")
    kept = {
        "title": "backups",
        "id": rule_id(9),
        "author": "alice",
        "description": "it is meant to",
        "logsource": SOURCE,
        "filter": {"rules": [rule_id(1)], "selection": {"User": "backup"}, "condition": "not selection"},
        "x-detector": {"until": end},
    }
    (tmp_path / "rules.yml").write_text(yaml.safe_dump_all([event({"DestinationPort": 1}), kept]))
    call("silence", "add", "user=bob", *_SAID)
    call("silence", "add", "user=carol", "--for", "7d", "--reason", "later")

    with reading(engine) as connection:
        listed = alert_silences.list_silences(connection)
    ((silence, remedy),) = endings.silences(listed, datetime.now(UTC))
    ((kept_quiet, _),) = endings.rules(load_rules([tmp_path]))

    assert silence.startswith("silence 1 of alice ends ")
    assert remedy.endswith("user=bob")
    assert kept_quiet.startswith("the filter backups ends ")
    states = {each["reason"]: each["state"] for each in json.loads(call("silence", "list", "--json").out)}
    assert states == {"the migration": "ends soon", "later": "in force"}
    rules = {each["title"]: each["why"] for each in json.loads(call("rules", "list", "--json").out)}
    assert rules["backups"].startswith("until ")
