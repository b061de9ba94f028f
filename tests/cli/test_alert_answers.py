"""What people answer to alerts: `detector alerts ack`, `resolve`, `note`, `silence`, `benign` and `watch`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from select import select
from typing import TYPE_CHECKING, Any

import pytest
from click.shell_completion import ShellComplete
from sqlalchemy import insert

from detector.cli.alerts_watch import _View
from detector.cli.program import program
from detector.store.engine import open_store, writing
from detector.store.tables import evidence
from tests.builders import START, Recorder, count, insert_alert
from tests.notify.samples import enqueue

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_RULE = "f2a1b7f4-5c6f-4d6e-9b64-0d1c2b3a4f5e"
_RULE_FILE = f"""
title: Port scan
id: {_RULE}
name: port_scan
level: high
logsource: {{category: network_connection, product: linux}}
detection:
  all: {{DestinationPort|gt: 0}}
  condition: all
"""


@pytest.fixture
def alert(engine: Engine) -> int:
    """An open alert about alice's scan."""
    Recorder(engine).snapshot(count())
    insert_alert(engine, alert_id=12, rule_id=_RULE, state="open", end=datetime.now(UTC), start=START)
    return 12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of rules, with the rule of the alert, which one may write to."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "port_scan.yml").write_text(_RULE_FILE)
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(folder)]))
    return folder


def _shown(call: Call, alert_id: int = 12) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(call("alerts", "show", str(alert_id), "--json").out)
    return shown


def _said(call: Call) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["author"], each["said"]) for each in _shown(call)["timeline"] if each["author"]]


def test_an_alert_is_taken_on(call: Call, alert: int) -> None:
    """Who and when is kept and shown; a second one is told who was first, and changes nothing."""
    first = call("alerts", "ack", str(alert), "--author", "alice", "--note", "looking at it")
    second = call("alerts", "ack", str(alert), "--author", "bob")

    assert (first.code, first.out) == (0, "acknowledged: alert 12\n")
    assert (second.code, second.out) == (0, "")
    assert second.err == "nothing to be done for alert 12: alice has acknowledged it already\n"
    assert _shown(call)["acknowledged_by"] == "alice"
    assert _said(call) == [("acknowledged", "alice", "looking at it")]
    assert "acknowledged, by alice" in call("alerts", "show", "12").out
    assert " acknowledged " in call("alerts", "list").out


def test_an_alert_is_said_to_be_over(call: Call, alert: int) -> None:
    """It is not among those that are open any more, and keeps who said so."""
    assert [each["alert_id"] for each in json.loads(call("alerts", "list", "--open", "--json").out)] == [12]
    assert call("alerts", "resolve", str(alert), "--author", "alice").code == 0
    assert json.loads(call("alerts", "list", "--open", "--json").out) == []
    assert _shown(call)["resolved_by"] == "alice"
    assert call("alerts", "resolve", "12").err == "nothing to be done for alert 12: it is resolved already, by alice\n"


def test_what_an_alert_was_is_said_with_its_end(call: Call, alert: int, engine: Engine) -> None:
    """Over and true in one go: what is behind it is not learnt, as is listed, and can be taken back."""
    with writing(engine) as connection:
        connection.execute(insert(evidence).values(alert_id=alert, seq=1, key_id=1, session=0, found_seq=1))
    said = call("alerts", "resolve", str(alert), "--as", "true", "--note", "a \x1b[31mpentest", "--author", "alice")
    assert (said.code, said.lines) == (
        0,
        ["resolved: alert 12", "true: alert 12: 1 key behind it will not be learnt"],
    )
    (one,) = json.loads(call("model", "feedback", "list", "--json").out)
    assert (one["alert_id"], one["verdict"], one["author"], one["keys"]) == (12, "true", "alice", 1)
    assert call("model", "feedback", "undo", "12").code == 0
    assert json.loads(call("model", "feedback", "list", "--json").out) == []


def test_remarks_are_kept_with_an_alert(call: Call, alert: int) -> None:
    """In its time line, as often as somebody has something to say, whatever they write."""
    for text in ("called alice", "\x1b[2Jit was \u202eher"):
        assert call("alerts", "note", str(alert), text, "--author", "bob").code == 0
    assert _said(call) == [("note", "bob", "called alice"), ("note", "bob", "\x1b[2Jit was \u202eher")]
    shown = call("alerts", "show", "12").out
    assert "bob: called alice" in shown
    assert r"bob: \x1b[2Jit was \u202eher" in shown
    assert call("alerts", "note", "12", " ").code == 2


def test_what_the_second_to_answer_knows_is_kept(call: Call, alert: int) -> None:
    """Their note stands in the time line, though there is nothing left to be done."""
    call("alerts", "ack", str(alert), "--author", "alice", "--note", "looking")
    late = call("alerts", "ack", str(alert), "--author", "bob", "--note", "it is the backup")
    assert late.err == "nothing to be done for alert 12: alice has acknowledged it already; your note is kept\n"
    assert call("alerts", "ack", str(alert)).err == (
        "nothing to be done for alert 12: alice has acknowledged it already\n"
    )
    assert _said(call) == [("acknowledged", "alice", "looking"), ("note", "bob", "it is the backup")]


def test_an_answer_to_no_alert_is_a_fault(call: Call, alert: int) -> None:
    """Nothing is done for any of several, if one of them is not there."""
    for verb in (("ack",), ("resolve",)):
        result = call("alerts", *verb, str(alert), "13")
        assert (result.code, result.out) == (1, "")
        assert result.err == "detector: there is no alert 13\n  see: detector alerts list\n"
    assert _said(call) == []


def test_nothing_more_of_an_alert_for_a_week(call: Call, alert: int, engine: Engine) -> None:
    """Its host, its rule, what its rows have in common; what that would have muted is shown, and the alert says it."""
    insert_alert(engine, alert_id=13, rule_id=_RULE, group={"user": "bob"}, end=datetime.now(UTC))

    result = call("alerts", "silence", str(alert), "--for", "7d", "--reason", "the migration", "--author", "alice")

    assert result.code == 0
    assert f"mutes alerts with: host=bastion-1, rule={_RULE}, user=alice, remote_address=10.0.4.12" in result.out
    assert "in the last 30 days it would have muted 1 of 2 alerts (0 messages):" in result.out
    assert "to end it: detector silence expire 1" in result.out
    (silence,) = json.loads(call("silence", "list", "--json").out)
    assert (silence["author"], silence["reason"], silence["state"]) == ("alice", "the migration", "in force")
    assert datetime.fromisoformat(silence["ends_at"]) > datetime.now(UTC) + timedelta(days=6)
    assert _said(call) == [("silenced", "alice", "silence 1: the migration")]


def test_a_benign_alert_becomes_a_filter(call: Call, alert: int, folder: Path) -> None:
    """The narrowest that covers it, of its rule; the alert is resolved, with who said so and why."""
    result = call("alerts", "benign", str(alert), "--reason", "the inventory", "--author", "alice", "--yes")

    assert result.code == 0, result.err
    (written,) = folder.glob("*.filter1.yml")
    assert f"- {_RULE}" in written.read_text()
    assert "10.0.4.12" in written.read_text()
    assert _shown(call)["resolved_by"] == "alice"
    assert ("benign", "alice", "the inventory") in _said(call)
    (told,) = json.loads(call("model", "feedback", "list", "--json").out)
    assert (told["alert_id"], told["verdict"], told["author"]) == (12, "benign", "alice")


def test_two_people_who_call_an_alert_benign_write_one_filter(call: Call, alert: int, folder: Path) -> None:
    """The second is told that it is passed over already; both are kept in the time line. An end may differ."""
    for author in ("alice", "bob"):
        result = call("alerts", "benign", str(alert), "--reason", f"says {author}", "--author", author, "--yes")
        assert result.code == 0, result.err
    (written,) = folder.glob("*.filter*.yml")
    assert f"that is passed over already: {written}" in result.out
    assert [each[:2] for each in _said(call) if each[0] == "benign"] == [("benign", "alice"), ("benign", "bob")]
    written.write_text(written.read_text() + "x-detector: {until: 2199-01-01}\n")
    call("alerts", "benign", str(alert), "--reason", "for a while", "--until", "2198-12-31", "--yes")
    assert list(folder.glob("*.filter*.yml")) == [written]
    call("alerts", "benign", str(alert), "--reason", "for good", "--yes")
    assert len(list(folder.glob("*.filter*.yml"))) == 2


def test_what_writes_no_filter_has_no_end(call: Call, alert: int) -> None:
    """`--until` would do nothing: it is refused, and nothing is said of the alert."""
    result = call("alerts", "benign", str(alert), "--reason", "a test", "--no-filter", "--until", "2199-01-01")
    assert (result.code, "--no-filter writes none" in result.err) == (2, True)
    assert (_shown(call)["state"], _said(call)) == ("open", [])


def test_a_silence_names_the_rules_that_it_is_about(call: Call, alert: int, folder: Path, engine: Engine) -> None:
    """By title beside the ids, in the preview and in the list; one that is not there any more is an id alone."""
    assert folder.is_dir()
    gone = "0d1c2b3a-5c6f-4d6e-9b64-f2a1b7f4e5f6"
    insert_alert(engine, alert_id=13, rule_id=_RULE, also_seen_by={gone: "Gone"}, end=datetime.now(UTC))
    for number in (alert, 13):
        made = call("alerts", "silence", str(number), "--for", "7d", "--reason", "the migration")
        assert f"rule={'=~'[1:] if number == 13 else ''}" in made.out
        assert "(Port scan)" in made.out
    assert f"rule=~{gone}|{_RULE} (Port scan), " in made.out
    assert call("silence", "list").out.count(f"{_RULE} (Port scan), ") == 2


def test_an_end_is_asked_for_before_a_reason(call: Call, alert: int) -> None:
    """Whoever has written why would have written it in vain."""
    result = call("alerts", "silence", str(alert))
    assert (result.code, "say when it ends" in result.err) == (2, True)


def test_a_benign_alert_need_not_become_a_filter(call: Call, alert: int, folder: Path) -> None:
    """With --no-filter it is only said."""
    assert call("alerts", "benign", str(alert), "--reason", "a test", "--no-filter").code == 0
    assert [each.name for each in folder.iterdir()] == ["port_scan.yml"]
    assert _shown(call)["state"] == "resolved"


def test_what_cannot_become_a_filter_is_not_said_to_be_benign(
    call: Call, alert: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no rule file can be written nothing is kept of it: it would be found again."""
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps(["/nowhere/at/all"]))
    assert call("alerts", "benign", str(alert), "--reason", "a test", "--yes").code != 0
    assert (_shown(call)["state"], _said(call)) == ("open", [])


def test_the_answers_stand_with_an_alert(call: Call, alert: int) -> None:
    """Ready to be pasted."""
    commands = [each["command"] for each in _shown(call)["answers"]]
    after = [
        "detector alerts silence 12 --for 7d",
        "detector alerts benign 12",
        "detector rules tune --from-alert 12",
    ]
    assert commands == ["detector alerts ack 12", *after, "detector alerts resolve 12"]
    assert all(command in call("alerts", "show", str(alert)).out for command in commands)
    # Nobody is offered what is done.
    call("alerts", "ack", str(alert))
    assert [each["command"] for each in _shown(call)["answers"]] == [*after, "detector alerts resolve 12"]
    call("alerts", "resolve", str(alert))
    assert [each["command"] for each in _shown(call)["answers"]] == after


@pytest.mark.usefixtures("alert")
def test_the_shell_completes_numbers() -> None:
    """Of alerts and silences, with what they are."""
    complete = ShellComplete(program, {}, "detector", "_DETECTOR_COMPLETE")
    found = complete.get_completions(["alerts", "ack"], "1")
    assert [(each.value, each.help) for each in found] == [("12", "bastion-1: Port scan of one destination")]
    assert complete.get_completions(["alerts", "ack"], "2") == []
    assert [each.value for each in complete.get_completions(["notify", "route"], "")] == ["12"]
    assert [each.value for each in complete.get_completions(["rules", "tune", "--from-alert"], "")] == ["12"]
    assert complete.get_completions(["silence", "expire"], "") == []


@pytest.mark.usefixtures("alert")
def test_the_shell_offers_no_silence_that_has_ended(call: Call) -> None:
    """Nobody can end it."""
    for user in ("bob", "carol"):
        call("silence", "add", f"user={user}", "--for", "2h", "--reason", user)
    call("silence", "expire", "1")
    complete = ShellComplete(program, {}, "detector", "_DETECTOR_COMPLETE")
    assert [(each.value, each.help) for each in complete.get_completions(["silence", "expire"], "")] == [("2", "carol")]


@pytest.mark.parametrize("number", ["abc", "0", "-1", "#12", "1.5", "9" * 30, "\x1b[31m"])
def test_what_is_no_number_of_an_alert_is_refused(call: Call, number: str) -> None:
    """With where the numbers stand."""
    result = call("alerts", "ack", "--", number)
    assert result.code == 2
    assert "is not the number of an alert; see: detector alerts list" in result.err
    assert "\x1b" not in result.err


def test_alerts_are_followed_as_they_come(store: str, alert: int) -> None:
    """A line of JSON for each that is new or has changed; Ctrl-C ends it quietly."""
    environment = {**os.environ, "DETECTOR_DATABASE_URL": store}
    words = [sys.executable, "-m", "detector", "alerts", "watch", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        engine = open_store(store)
        # It is not known when it has looked for the first time: another one comes until it says so.
        for number in range(alert + 1, alert + 60):
            insert_alert(engine, alert_id=number, end=datetime.now(UTC))
            if select([watch.stdout], [], [], 0.5)[0]:
                break
        first = json.loads(watch.stdout.readline())
        watch.send_signal(signal.SIGINT)
        rest, fault = watch.stdout.read(), watch.stderr.read()
    engine.dispose()
    assert first["alert_id"] > alert
    assert all(json.loads(line)["summary"] for line in rest.splitlines())
    assert (fault.strip(), watch.returncode) == ("", 130)


def test_what_comes_at_once_is_all_shown(engine: Engine) -> None:
    """More alerts between two looks than are listed are all new, each once; old ones are not, until they go on."""
    enqueue(engine, titles=["old", "older"])
    enqueue(engine, titles=["last"], after=timedelta(hours=2))
    view = _View(engine, None, 1)
    view.look()
    assert view.look() == []
    enqueue(engine, titles=[f"new {number}" for number in range(9)], after=timedelta(hours=3))
    # The one that was shown is resolved meanwhile.
    assert sorted(each.rule_title for each in view.look()) == ["last", *(f"new {number}" for number in range(9))]
    assert view.look() == []
    assert len(view.alerts) == 1
    empty = _View(engine, "no such host", 1)
    assert (empty.look(), empty.look()) == ([], [])
