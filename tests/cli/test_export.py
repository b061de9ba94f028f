"""`detector export`: OCSF events, checked against the published schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from sqlalchemy import insert

from detector.cli import ocsf
from detector.domain import CHANNELS, Alert, Severity
from detector.store.engine import open_store, writing
from detector.store.tables import evidence
from tests.builders import START, Recorder, count, insert_alert, observe
from tests.cli.test_main import verbs
from tests.examples import examples
from tests.hostile import TEXT

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call

_PROGRAM = Path(sys.executable).with_name("detector")
_ROOT = Path(__file__).parent.parent.parent
_FULL: dict[str, Any] = {
    "script": "/opt/a.sh",
    "parent_executable": "/usr/bin/sudo",
    "user": "root",
    "session": 7,
    "container": "0123456789ab",
    "login_address": "203.0.113.7",
    "login_source": "logind",
    "remote_name": "db.example.org",
    "remote_name_source": "udp answer of 10.0.0.2",
    "remote_country": "NO",
    "remote_network": "AS64500 Example Ltd",
    "attempted": 4,
    "established": 3,
    "refused": 1,
    "handshake_us_total": 900,
    "handshake_us_max": 600,
}


@cache
def _validator(class_name: str, profiles: tuple[str, ...]) -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(ocsf.SCHEMA_VERSION))
    return Draft202012Validator(schema.get_class_schema(class_name, list(profiles)))


def _valid(event: dict[str, Any]) -> dict[str, Any]:
    """The event, which the schema of its class and its profiles allows, names that it does not know included."""
    class_name = {4001: "network_activity", 2004: "detection_finding"}[event["class_uid"]]
    validator = _validator(class_name, tuple(event["metadata"]["profiles"]))
    faults = [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(event)]
    assert faults == []
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    return event


def _events(call: Call, *arguments: str) -> list[dict[str, Any]]:
    result = call("export", *arguments)
    assert (result.code, result.err) == (0, "")
    return [_valid(json.loads(line)) for line in result.out.splitlines()]


def test_the_schema_refuses_what_is_wrong() -> None:
    """Else the tests below would prove nothing."""
    validator = _validator("network_activity", ("host",))
    faults = {fault.validator for fault in validator.iter_errors({"class_uid": 4001, "nonsense": 1})}
    assert {"required", "additionalProperties", "anyOf"} <= faults


def test_a_row_is_network_activity(call: Call, engine: Engine) -> None:
    """Who, with what, from where to where, how often, how it ended; what the schema has no place for is unmapped."""
    ref = Recorder(engine).snapshot(count(**_FULL))
    observe(engine, ref, {1: {"score": 0.99, "explanation": "new", "channel": "novelty"}})

    (event,) = _events(call)

    assert event.pop("metadata")["uid"] == "bastion-1/1/1/7"
    assert event == {
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4001,
        "class_name": "Network Activity",
        "activity_id": 1,
        "activity_name": "Open",
        "type_uid": 400101,
        "type_name": "Network Activity: Open",
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 99,
        "status": "Mixed",
        "time": 1772442010000,
        "start_time": 1772442000000,
        "end_time": 1772442010000,
        "duration": 10000,
        "count": 4,
        "device": {"hostname": "bastion-1", "name": "bastion-1", "type_id": 0, "type": "Unknown"},
        "actor": {
            "process": {
                "uid": "1",
                "name": "ssh",
                "path": "/usr/bin/ssh",
                "file": {"path": "/usr/bin/ssh", "name": "ssh", "type_id": 1},
                "user": {"name": "root"},
                "ancestry": [{"path": "/usr/bin/sudo", "name": "sudo"}],
                "container": {"uid": "0123456789ab"},
            },
            "user": {"name": "alice"},
            "session": {"uid": "7", "is_remote": True},
        },
        "src_endpoint": {"hostname": "bastion-1", "name": "bastion-1"},
        "dst_endpoint": {
            "ip": "10.0.4.12",
            "port": 22,
            "hostname": "db.example.org",
            "location": {"country": "NO"},
            "autonomous_system": {"number": 64500, "name": "Example Ltd"},
        },
        "connection_info": {
            "direction_id": 2,
            "direction": "Outbound",
            "protocol_name": "tcp",
            "protocol_num": 6,
            "protocol_ver_id": 4,
        },
        "unmapped": {
            "script": "/opt/a.sh",
            "unit": "user-1000.slice",
            "login_address": "203.0.113.7",
            "login_source": "logind",
            "remote_name_source": "udp answer of 10.0.0.2",
            "attempted": 4,
            "established": 3,
            "refused": 1,
            "timed_out": 0,
            "failed": 0,
            "score": 0.99,
            "surprise": 2.0,
            "channel": "novelty",
            "explanation": "new",
            "first_seen": "2026-03-02T09:00:00Z",
            "handshake_us_mean": 300,
            "handshake_us_max": 600,
        },
    }


@pytest.mark.parametrize(
    ("values", "activity", "status"),
    [
        ({"attempted": 2, "established": 2}, "Open", "Success"),
        ({"attempted": 2, "refused": 2}, "Refuse", "Failure"),
        ({"attempted": 2, "timed_out": 1, "refused": 1}, "Fail", "Failure"),
        ({"attempted": 2, "failed": 2}, "Fail", "Failure"),
        ({"attempted": 2}, "Unknown", "Unknown"),
        ({"protocol": "sctp", "established": 1}, "Open", "Success"),
        ({"protocol": "udp", "attempted": 2}, "Traffic", "Unknown"),
        ({"protocol": "udp", "attempted": 0, "failed": 2}, "Traffic", "Failure"),
    ],
)
def test_how_it_ended_is_activity_and_status(
    call: Call, engine: Engine, values: dict[str, Any], activity: str, status: str
) -> None:
    """One event stands for all connects of its row."""
    Recorder(engine).snapshot(count(**values))

    (event,) = _events(call)

    assert (event["activity_name"], event["status"]) == (activity, status)


_HERE = {"hostname": "bastion-1", "name": "bastion-1"}


@pytest.mark.parametrize(
    ("values", "source", "destination", "number"),
    [
        ({"direction": "inbound"}, {"ip": "10.0.4.12"}, _HERE | {"port": 22}, 6),
        ({"protocol": "icmp", "port": None}, _HERE, {"ip": "10.0.4.12"}, 1),
        ({"protocol": "icmp", "port": None, "address": "fd00::1"}, _HERE, {"ip": "fd00::1"}, 58),
        ({"protocol": "packet", "port": None, "address": None}, _HERE, None, None),
    ],
)
def test_ends_are_source_and_destination(
    call: Call,
    engine: Engine,
    values: dict[str, Any],
    source: dict[str, Any],
    destination: dict[str, Any] | None,
    number: int | None,
) -> None:
    """By who began; an end that is unknown is left out."""
    Recorder(engine).snapshot(count(**values))

    (event,) = _events(call)

    assert (event["src_endpoint"], event.get("dst_endpoint")) == (source, destination)
    assert event["connection_info"].get("protocol_num") == number


def test_what_is_unknown_is_left_out(call: Call, engine: Engine) -> None:
    """A row without anybody has no actor, rather than an empty one."""
    nobody = dict.fromkeys(("user", "login_user", "executable", "command", "unit"))
    Recorder(engine).snapshot(count(**nobody), count(**(nobody | {"executable": "/memfd:x (deleted)"})))

    first, second = _events(call)

    assert "actor" not in first
    assert second["actor"] == {
        "process": {
            "uid": "2",
            "path": "/memfd:x (deleted)",
            "file": {"path": "/memfd:x", "name": "memfd:x", "type_id": 1, "is_deleted": True},
        }
    }


def test_an_alert_is_a_detection_finding(call: Call, engine: Engine) -> None:
    """With its rule, its period, and the first rows behind it."""
    Recorder(engine).snapshot(count(**_FULL))
    insert_alert(engine)
    with writing(engine) as connection:
        connection.execute(insert(evidence).values(alert_id=1, seq=1, key_id=1, session=7, found_seq=1))

    (event,) = _events(call, "--what", "alerts")

    assert (event["class_uid"], event["type_uid"], event["severity_id"], event["is_alert"]) == (2004, 200402, 4, True)
    assert event["finding_info"] == {
        "uid": "bastion-1/1",
        "title": "Port scan of one destination",
        "desc": "alice, via /usr/bin/nc, tried 300 ports",
        "created_time": 1772442010000,
        "modified_time": 1772442020000,
        "first_seen_time": 1772442000000,
        "last_seen_time": 1772442020000,
        "analytic": {"uid": "0b1c", "name": "Port scan of one destination", "type_id": 1, "type": "Rule"},
    }
    assert event["message"] == event["finding_info"]["desc"]
    assert event["evidences"][0]["actor"]["user"] == {"name": "alice"}
    assert event["evidences"][0]["dst_endpoint"]["port"] == 22
    assert event["unmapped"]["group"] == {"user": "alice", "remote_address": "10.0.4.12"}
    assert event["unmapped"]["explanations"] == ["never seen before"]


@pytest.mark.parametrize(("severity", "number"), [(each, each.rank + 1) for each in Severity])
def test_severities_are_those_of_the_schema(call: Call, engine: Engine, severity: Severity, number: int) -> None:
    """1 is informational, 5 critical; an alert of one finding has just been made."""
    Recorder(engine).snapshot()
    insert_alert(engine, severity=severity.value, finding_count=1)

    (event,) = _events(call, "--what", "alerts")

    assert (event["severity_id"], event["activity_name"]) == (number, "Create")
    assert "evidences" not in event


def test_hosts_and_periods_are_chosen(call: Call, engine: Engine) -> None:
    """As `query` does: periods that meet share no row and no alert."""
    for number in (1, 2):
        recorder = Recorder(engine, host=f"web-{number}")
        for port in range(1, 4):
            recorder.snapshot(count(port=port))
        insert_alert(engine, host_id=number, end=START + timedelta(seconds=10 * number))
    second = (START + timedelta(seconds=10)).isoformat()

    rows = [
        [(each["device"]["name"], each["dst_endpoint"]["port"]) for each in _events(call, *arguments)]
        for arguments in ((), ("--host", "web-2"), ("--until", second), ("--since", second, "--host", "web-1"))
    ]
    assert rows[0] == [(f"web-{host}", port) for host in (1, 2) for port in (1, 2, 3)]
    assert rows[1:] == [
        [("web-2", 1), ("web-2", 2), ("web-2", 3)],
        [("web-1", 1), ("web-2", 1)],
        [("web-1", 2), ("web-1", 3)],
    ]
    found = [
        [each["device"]["name"] for each in _events(call, "--what", "alerts", *arguments)]
        for arguments in ((), ("--host", "web-2"), ("--until", second), ("--since", second), ("--host", "none"))
    ]
    assert found == [["web-1", "web-2"], ["web-2"], ["web-1"], ["web-2"], []]
    assert call("export", "--since", "1h", "--until", "2h").code == 2


def test_a_file_is_there_when_it_is_whole(call: Call, engine: Engine, tmp_path: Path) -> None:
    """For its owner alone, under its name at the end; what stood there before is replaced."""
    Recorder(engine).snapshot(count(), count(port=23))
    path = tmp_path / "events.jsonl"
    path.write_text("old")

    result = call("export", "--output", path)

    assert (result.code, result.out, result.err) == (0, "", f"{path}: 2 events\n")
    assert [_valid(json.loads(line))["dst_endpoint"]["port"] for line in path.read_text().splitlines()] == [22, 23]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_of_a_file_that_is_not_whole(
    call: Call, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood there before stays, and no part lies beside it."""
    Recorder(engine).snapshot(count(), count(port=23))
    path = tmp_path / "out" / "events.jsonl"
    path.parent.mkdir()
    path.write_text("old")
    calls = iter(range(5))

    def interrupted(row: Any) -> dict[str, Any]:
        if next(calls):
            raise KeyboardInterrupt
        return {"class_uid": row["seq"]}

    monkeypatch.setattr(ocsf, "network_activity", interrupted)

    assert call("export", "--output", path).code == 130
    assert [each.read_text() for each in path.parent.iterdir()] == ["old"]
    refused = call("export", "--output", tmp_path / "none" / "x")
    assert (refused.code, refused.err.splitlines()[0]) == (1, f"detector: {tmp_path}/none/x: No such file or directory")


def test_a_reader_that_has_seen_enough_is_no_fault(store: str) -> None:
    """`detector export | head -1` ends without a word."""
    engine = open_store(store)
    Recorder(engine).snapshot(*(count(port=port) for port in range(1, 3000)))
    engine.dispose()

    result = subprocess.run(
        ["bash", "-c", f"'{_PROGRAM}' export | head -1"], capture_output=True, text=True, check=True, env=os.environ
    )

    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


_OPTIONAL = st.none() | TEXT


_TEXTS = (
    *("executable", "script", "parent_executable", "command", "user", "login_user", "unit", "container"),
    *("login_source", "remote_name", "remote_name_source", "remote_country", "remote_network"),
    *("explanation", "channel", "novelty"),
)


@settings(max_examples=examples(150))
@given(st.fixed_dictionaries(dict.fromkeys(_TEXTS, _OPTIONAL)), TEXT)
def test_names_of_any_kind_make_valid_events(names: dict[str, str | None], host: str) -> None:
    """Attackers choose them; the schema has to hold, and nothing of them reaches a terminal as it is."""
    from detector.cli.terminal import json_line

    row: Any = names | {
        "host": host, "start": START, "end": START, "first_seen": START, "seq": 1, "key_id": 1, "session": 1,
        "direction": "outbound", "protocol": "tcp", "remote_address": None, "remote_port": 1, "local_port": None,
        "login_address": None, "handshake_us_total": 0, "handshake_us_max": 0, "attempted": 1, "established": 0,
        "refused": 0, "timed_out": 0, "failed": 0,
        **dict.fromkeys(("score", "surprise", "unusual", *(f"p_{name}" for name in CHANNELS))),
    }  # fmt: skip
    alert = Alert(
        alert_id=1, host=host, rule_id="x", rule_title=names["command"] or "", severity=Severity.LOW, fingerprint="f",
        group={"user": names["user"]}, opened_at=START, start=START, end=START, finding_count=1, attempted=1,
        established=1, refused=0, timed_out=0, failed=0, destinations=1, ports=1, score=None, summary=host,
        explanations=(host,),
    )  # fmt: skip
    for event in (ocsf.network_activity(row), ocsf.detection_finding(alert, [row])):
        line = json_line(event)
        assert line[:-1].isprintable()
        assert line.isascii()
        _valid(json.loads(line))


def test_times_are_milliseconds_of_any_zone() -> None:
    """Exact, and not of the local zone."""
    assert ocsf._milliseconds(datetime.fromisoformat("2026-03-02T10:00:00.123456+01:00")) == 1772442000123


def test_every_option_and_class_is_documented() -> None:
    """docs/export.md has them."""
    text = (_ROOT / "docs" / "export.md").read_text()

    (export,) = [command for words, command in verbs() if words == ["export"]]
    for parameter in export.params:
        assert any(option in text for option in parameter.opts), parameter.opts
    for word in ("4001", "2004", ocsf.SCHEMA_VERSION):
        assert word in text
