"""`detector alerts`."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert

from detector.alerts.book import AlertBook, ChannelPolicy
from detector.domain import EvidenceRef, Finding, Severity
from detector.store.alerts import notifications_of
from detector.store.engine import reading, writing
from detector.store.outbox import StoredOutbox
from detector.store.tables import evidence, packed_counts
from tests.builders import START, Recorder, count, insert_alert, observe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import SnapshotRef
    from tests.cli.conftest import Call

_RULE = "faecaa28-1ee8-452a-b277-b03614c252cc"


def _find(
    engine: Engine, ref: SnapshotRef, keys: int, *, name: str = "scan", group: dict[str, Any] | None = None
) -> None:
    """A finding whose evidence are the first keys of a snapshot."""
    finding = Finding(
        rule_id=_RULE,
        rule_title=f"Rule {name}",
        severity=Severity.HIGH,
        fingerprint=name,
        group=group or {"login_user": "alice", "user": "root", "executable": "/usr/bin/nc"},
        start=ref.start,
        end=ref.end,
        evidence=tuple(EvidenceRef(seq=ref.seq, key_id=key_id, session=0) for key_id in range(1, keys + 1)),
    )
    channels = [ChannelPolicy(name=name, min_severity=Severity.LOW) for name in ("mail", "slack")]
    with writing(engine) as connection:
        AlertBook(channels, timedelta(hours=1)).record(connection, ref, [finding])


def _scan(engine: Engine) -> None:
    """One alert: three refused ports, seen twice, the second time with a score."""
    recorder = Recorder(engine)
    ports = [
        count("10.0.4.12", port, executable="/usr/bin/nc", user="root", attempted=1, refused=1) for port in (1, 2, 3)
    ]
    for _ in range(2):
        ref = recorder.snapshot(*ports)
        observe(engine, ref, {1: {"score": 0.998, "surprise": 2.7, "explanation": "nobody here used nc before"}})
        _find(engine, ref, 3)


@pytest.mark.usefixtures("zone")
def test_alerts_are_listed_the_newest_last(call: Call, engine: Engine) -> None:
    """A line for each: number, when, how severe, where, which rule, and what happened in words."""
    recorder = Recorder(engine)
    for name in ("first", "second"):
        _find(engine, recorder.snapshot(count(executable="/usr/bin/nc")), 1, name=name)

    result = call("alerts", "list")

    assert result.code == 0
    assert result.err == ""
    title, *lines = [re.split(r" {2,}", line.strip(), maxsplit=6) for line in result.lines]
    assert title == ["id", "last (+01:00)", "severity", "state", "host", "rule", "summary"]
    assert [line[:6] for line in lines] == [
        ["1", "2026-03-02 10:00:10", "high", "open", "bastion-1", "Rule first"],
        ["2", "2026-03-02 10:00:20", "high", "open", "bastion-1", "Rule second"],
    ]
    assert all("/usr/bin/nc" in line[6] for line in lines)


@pytest.mark.usefixtures("zone")
def test_other_rules_that_saw_an_alert_are_named(call: Call, engine: Engine) -> None:
    """In the list the first of them, in the alert all, and in JSON with their ids; and silenced with it."""
    Recorder(engine).snapshot(count())
    others = {f"rule-{number}": f"Rule {number}" for number in range(4)}
    insert_alert(engine, alert_id=1, rule_title="Scan", also_seen_by=others)

    (listed,) = json.loads(call("alerts", "list", "--json").out)
    assert listed["also_seen_by"] == others
    assert "Scan (also seen by: Rule 0; Rule 1; Rule 2 and 1 more)" in " ".join(call("alerts", "list").out.split())
    assert "also seen by Rule 0; Rule 1; Rule 2; Rule 3" in " ".join(call("alerts", "show", "1").out.split())
    silenced = call("alerts", "silence", "1", "--for", "1h", "--reason", "x", "--dry-run")
    assert "rule-0|rule-1|rule-2|rule-3" in silenced.out


@pytest.mark.usefixtures("zone")
def test_what_was_held_back_is_listed_the_strangest_first(call: Call, engine: Engine) -> None:
    """Each connection with its alert; as JSON with all that is known of its strangest row."""
    assert call("alerts", "list", "--held").err == "nothing was held back\n"
    ref = Recorder(engine).snapshot(count("10.0.9.1", 22), count("10.0.9.2", 4444, executable="/tmp/\x1b[31m"))
    observe(
        engine, ref, {1: {"surprise": 2.5, "score": 0.99}, 2: {"surprise": 4.0, "score": 0.9999, "explanation": "new"}}
    )
    insert_alert(engine, alert_id=7, fingerprint="capped-0", rule_title="Unusual: held back", end=ref.end)
    with writing(engine) as connection:
        for key_id in (1, 2):
            place = {"seq": ref.seq, "key_id": key_id, "session": 0, "found_seq": ref.seq}
            connection.execute(insert(evidence).values(alert_id=7, **place))
    result = call("alerts", "list", "--held")
    assert result.code == 0, result.err
    title, first, second = [re.split(r" {2,}", line.strip()) for line in result.lines]
    assert title[:3] == ["alert", "surprise", "last (+01:00)"]
    assert first[:4] == ["7", "4.0", "2026-03-02 10:00:10", "bastion-1"]
    assert first[5:] == [r"/tmp/\x1b[31m", "-> 10.0.9.2:4444", "1", "new"]
    assert second[1] == "2.5"
    objects = json.loads(call("alerts", "list", "--held", "--limit", "1", "--json").out)
    assert [(each["alert_id"], each["remote_port"], each["connects"]) for each in objects] == [(7, 4444, 1)]
    assert call("alerts", "list", "--held", "--open").code == 2


def test_the_period_and_the_number_can_be_limited(call: Call, engine: Engine) -> None:
    """`--since` leaves out what had ended by then; beyond `--limit` a remark says that there are more."""
    recorder = Recorder(engine)
    for name in ("a", "b", "c"):
        _find(engine, recorder.snapshot(count()), 1, name=name)

    def ids(*options: str) -> list[int]:
        return [each["alert_id"] for each in json.loads(call("alerts", "list", "--json", *options).out)]

    assert ids() == [1, 2, 3]
    assert ids("--since", "2026-03-02T09:00:10Z") == [2, 3]
    assert ids("--limit", "2") == [2, 3]
    assert call("alerts", "list", "--limit", "2").err.startswith("there are older alerts too")
    assert call("alerts", "list", "--limit", "3").err == ""


def test_no_alerts_are_said(call: Call, store: str) -> None:
    """None: a remark for a person, an empty list for a script."""
    assert store
    table, objects = call("alerts", "list"), call("alerts", "list", "--json")

    assert (table.code, table.out) == (0, "")
    assert table.err.startswith("no alerts yet; whether hosts are watched: detector doctor; ")
    assert call("alerts", "list", "--open").err == "no open alerts; what is over: detector alerts list\n"
    assert call("alerts", "list", "--host", "x").err == "no alerts there: search without --since and --host\n"
    assert (objects.code, objects.out, objects.err) == (0, "[]\n", "")


def test_an_alert_as_json(call: Call, engine: Engine) -> None:
    """`list` gives all facts of an alert; `show` gives decisions, notifications and rows with them."""
    _scan(engine)

    (listed,) = json.loads(call("alerts", "list", "--json").out)
    shown = json.loads(call("alerts", "show", "1", "--json").out)

    assert {key: shown[key] for key in listed} == listed
    more = {"decisions", "notifications", "escalates", "thread", "timeline", "answers", "rows", "rows_in_all"}
    assert set(shown) - set(listed) == more
    expected = {
        "alert_id": 1,
        "host": "bastion-1",
        "rule_id": _RULE,
        "rule_title": "Rule scan",
        "severity": "high",
        "fingerprint": "scan",
        "group": {"login_user": "alice", "user": "root", "executable": "/usr/bin/nc"},
        "opened_at": "2026-03-02T09:00:10Z",
        "start": "2026-03-02T09:00:00Z",
        "end": "2026-03-02T09:00:20Z",
        "finding_count": 2,
        "attempted": 6,
        "established": 0,
        "refused": 6,
        "timed_out": 0,
        "failed": 0,
        "destinations": 1,
        "ports": 3,
        "score": 0.998,
        "explanations": ["nobody here used nc before"],
    }
    assert {key: listed[key] for key in expected} == expected
    assert sum(each["findings"] for each in shown["decisions"]) == 2
    assert {each["channel"] for each in shown["notifications"]} == {"mail", "slack"}
    assert [(each["remote_port"], each["end"]) for each in shown["rows"]] == [
        (port, end) for end in ("2026-03-02T09:00:10Z", "2026-03-02T09:00:20Z") for port in (1, 2, 3)
    ]
    assert shown["rows"][0]["explanation"] == "nobody here used nc before"


def test_one_alert_in_words(call: Call, engine: Engine) -> None:
    """Facts, reasons, decisions, notifications and rows, each in its section."""
    _scan(engine)

    result = call("alerts", "show", "1")

    assert result.code == 0
    assert result.err == ""
    assert result.lines[0] == "Alert 1, high, on bastion-1: Rule scan"
    facts = dict(re.split(r" {2,}", line, maxsplit=1) for line in result.lines if re.match(r"[a-z ]+ {2,}\S", line))
    assert facts["rule"] == _RULE
    assert facts["counts"] == "6 refused"
    assert facts["addresses"] == "1"
    assert facts["ports"] == "3"
    assert facts["score"] == "0.9980"
    assert facts["findings"] == "2"
    assert facts["in common"] == "login_user=alice, user=root, executable=/usr/bin/nc"
    assert "Why it is unusual:\n  nobody here used nc before\n" in result.out
    sections = [line for line in result.lines if line.endswith(":")]
    assert sections == [
        "Why it is unusual:",
        "Decisions:",
        "Notifications:",
        "Time line:",
        "What you can say to it:",
        "Rows (6):",
    ]
    assert len([line for line in result.lines if "-> 10.0.4.12:" in line]) == 6


def test_the_state_of_each_notification_is_shown(call: Call, engine: Engine) -> None:
    """Delivered, waiting with the last error, or given up: with how often it was tried."""
    _scan(engine)
    with reading(engine) as connection:
        mail, slack = notifications_of(connection, 1)[:2]
    outbox = StoredOutbox(engine)
    outbox.mark_delivered([mail.notification_id], now=START)
    lease = START + timedelta(days=1)
    for _ in range(3):
        outbox.claim("slack", now=START, leased_until=lease, patience=9)
        outbox.mark_failed(
            [slack.notification_id],
            leased_until=lease,
            error="\x1b[31m503 try later",
            now=START,
            next_attempt_at=START,
        )

    table, shown = call("alerts", "show", "1"), json.loads(call("alerts", "show", "1", "--json").out)

    lines = table.lines[table.lines.index("Notifications:") + 2 :]
    first, second = (re.split(r" {2,}", line) for line in lines[:2])
    assert (first[-6], first[-4], first[-3], first[-1]) == ("mail", "delivered", "1", "-")
    assert (second[-6], second[-4], second[-3], second[-1]) == ("slack", "pending", "3", r"\x1b[31m503 try later")
    assert [(each["state"], each["attempts"], each["last_error"]) for each in shown["notifications"]] == [
        ("delivered", 1, None),
        ("pending", 3, "\x1b[31m503 try later"),
    ]
    assert shown["notifications"][0]["delivered_at"] == "2026-03-02T09:00:00Z"


def test_the_rows_can_be_limited(call: Call, engine: Engine) -> None:
    """Of many rows the first are shown, and that is said."""
    _scan(engine)

    result = call("alerts", "show", "1", "--limit", "2")

    assert "Rows (the first 2 of 6):" in result.lines
    assert len([line for line in result.lines if "-> 10.0.4.12:" in line]) == 2
    written = json.loads(call("alerts", "show", "1", "--limit", "2", "--json").out)
    assert (len(written["rows"]), written["rows_in_all"]) == (2, 6)
    assert "Rows (6):" in call("alerts", "show", "1", "--limit", "6").lines


def test_rows_that_have_expired_are_counted(call: Call, engine: Engine) -> None:
    """They are behind the alert, and no longer there to be shown: that is said."""
    _scan(engine)
    with writing(engine) as connection:
        connection.execute(delete(packed_counts))
    assert "Rows (0 of 6; snapshots of others have expired):" in call("alerts", "show", "1").lines


def test_an_unknown_alert_is_a_fault(call: Call, engine: Engine) -> None:
    """A number that no alert has is said, with where to look."""
    _scan(engine)

    for options in ((), ("--json",)):
        result = call("alerts", "show", str(2**63 - 1), *options)
        assert (result.code, result.out) == (1, "")
        assert result.err == f"detector: there is no alert {2**63 - 1}\n  see: detector alerts list\n"
    for bad in ("seven", "0", "1.5", str(2**63)):
        assert call("alerts", "show", bad).code == 2


_HOSTILE = "/tmp/\x1b[2J\n\u202e[bold]x"


def test_hostile_names_are_made_visible(call: Call, engine: Engine) -> None:
    """Names from the watched machine do not act on the terminal, in no part of an alert."""
    ref = Recorder(engine).snapshot(count(executable=_HOSTILE, user=_HOSTILE))
    observe(engine, ref, {1: {"score": 0.999, "surprise": 3.0, "explanation": f"{_HOSTILE} is new"}})
    _find(engine, ref, 1, name="n", group={"executable": _HOSTILE})

    for words in (["list"], ["show", "1"], ["list", "--json"], ["show", "1", "--json"]):
        result = call("alerts", *words)
        assert result.code == 0
        assert all(each.isprintable() for each in result.out.replace("\n", ""))
    assert r"/tmp/\x1b[2J\n\u202e[bold]x" in call("alerts", "show", "1").out
