"""`detector rules explain` and `convert`: why a rule made an alert, and what it asked the database."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, text

from detector import shipped
from detector.alerts.book import AlertBook
from detector.domain import Losses
from detector.ruleset.load import load_rules
from detector.store.engine import reading, writing
from detector.store.tables import packed_counts
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount
    from tests.cli.conftest import Call

_RULE = """\
title: Odd port
id: 5b0a1c1e-6d0c-4f43-9d2f-2f6f2c1d0e01
level: high
logsource:
  category: network_connection
  product: linux
detection:
  selection:
    Initiated: true
    DestinationPort:
      - 23
      - 4444
  names:
    - Image|endswith: /nc
    - Command: nc
  filter_ours:
    DestinationIp|cidr: 10.0.0.0/8
  condition: selection and 1 of names and not filter_ours
"""


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rule beside those that ship."""
    folder = tmp_path / "rules"
    folder.mkdir()
    folders = [str(shipped.folder("rules")), str(folder)]
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps(folders))
    path = folder / "odd_port.yml"
    path.write_text(_RULE)
    return path


def _alerted(recorder: Recorder, rule: Path, *snapshots: list[ConnectionCount]) -> None:
    ruleset = load_rules([rule, shipped.folder("rules")]).ruleset
    book = AlertBook([], timedelta(hours=1))
    for counts in snapshots:
        ref = recorder.snapshot(*counts)
        with writing(recorder.engine) as connection:
            book.record(connection, ref, ruleset.evaluate(connection, ref))


def _netcat(address: str, port: int) -> ConnectionCount:
    return count(address, port, executable="/usr/bin/nc", command="nc")


def test_it_is_said_which_lines_matched_which_values(call: Call, engine: Engine, rule: Path) -> None:
    """For each selection and each of its lines, with the line in the file: how many of the rows, and their values."""
    _alerted(Recorder(engine), rule, [_netcat("192.0.2.1", 4444), _netcat("192.0.2.2", 23), _netcat("10.0.0.1", 23)])

    result = call("rules", "explain", "odd_port", "1")

    assert result.code == 0, result.err
    assert result.lines[1:] == [
        "2 rows behind it",
        "",
        "Odd port: selection and 1 of names and not filter_ours",
        "  selection (line 8): 2 of 2 rows",
        "    line 9: Initiated: True",
        "      2 of 2 rows: outbound (2)",
        "    line 10: DestinationPort: [23, 4444]",
        "      2 of 2 rows: 4444 (1), 23 (1)",
        "  names (line 13): 2 of 2 rows",
        "    line 14: Image|endswith: /nc",
        "      2 of 2 rows: /usr/bin/nc (2)",
        "    line 15: Command: nc",
        "      2 of 2 rows: nc (2)",
        "  filter_ours (line 16): 0 of 2 rows",
        "    line 17: DestinationIp|cidr: 10.0.0.0/8",
        "      0 of 2 rows",
    ]


def test_a_correlation_tells_what_it_came_to(call: Call, engine: Engine, rule: Path) -> None:
    """The most that was within one window, beside what was asked for, and the lines of the rules that it counts."""
    scan = [[count("192.0.2.1", each + 15 * number) for each in range(15)] for number in range(3)]
    _alerted(Recorder(engine), rule, *scan)

    result = call("rules", "explain", "vertical_scan", "1", "--json")

    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["count"] == {
        "type": "value_count",
        "field": "DestinationPort",
        "most": 45,
        "condition": "gte 20",
        "timespan": 300.0,
    }
    assert [each["title"] for each in found["rules"]] == ["Outbound connects"]
    assert [each["rows"] for each in found["rules"][0]["selections"]] == [45]


def test_alerts_about_capture_are_explained_by_snapshots(call: Call, engine: Engine, rule: Path) -> None:
    """Their rows are the snapshots themselves; a rule about connections says nothing of them."""
    recorder = Recorder(engine)
    ref = recorder.snapshot(losses=Losses(attempted=7))
    with writing(engine) as connection:
        ruleset = load_rules([shipped.folder("rules") / "capture_lost.yml"]).ruleset
        found = ruleset.evaluate(connection, ref)
        AlertBook([], timedelta(0)).record(connection, ref, found)

    result, other = call("rules", "explain", "capture_lost", "1"), call("rules", "explain", "odd_port", "1")

    assert result.code == 0, result.err
    assert "1 row behind it" in result.lines
    assert any(line.strip() == "1 of 1 row: 7 (1)" for line in result.lines)
    assert other.code == 1
    assert "looks at connections, and alert 1 does not" in other.err
    assert rule.exists()


def test_what_has_expired_is_said(call: Call, engine: Engine, rule: Path) -> None:
    """Rows that are no more are counted; so is an alert that is not there a fault."""
    _alerted(Recorder(engine), rule, [_netcat("192.0.2.1", 23)], [_netcat("192.0.2.1", 4444)])
    with writing(engine) as connection:
        connection.execute(delete(packed_counts).where(packed_counts.c.seq == 1))

    result, missing = call("rules", "explain", "odd_port", "1"), call("rules", "explain", "odd_port", "9")

    assert result.lines[1] == "1 row behind it; 1 row more that cannot be looked at"
    assert missing.code == 1
    assert "there is no alert 9" in missing.err


def test_the_sql_finds_the_same_rows(call: Call, engine: Engine, rule: Path) -> None:
    """What is printed runs in the database as it is, with the host and the snapshot for its parameters."""
    recorder = Recorder(engine)
    ref = recorder.snapshot(count("192.0.2.1", 23, executable="/usr/bin/nc"), count("10.0.0.1", 23), count())
    ruleset = load_rules([rule]).ruleset

    result = call("rules", "convert", "odd_port")

    assert result.code == 0, result.err
    comment, *sql = result.out.splitlines()
    assert comment == f"-- Odd port ({rule}:1)"
    with reading(engine) as connection:
        (finding,) = ruleset.evaluate(connection, ref)
        rows = connection.execute(text("\n".join(sql)), {"host_id": ref.host_id, "seq": ref.seq}).all()
    assert [tuple(row[:3]) for row in rows] == [(each.seq, each.key_id, each.session) for each in finding.evidence]


def test_filters_that_would_pass_rows_over_today_are_named(call: Call, engine: Engine, rule: Path) -> None:
    """Those that were written since the alert, each with its file and how many of the rows; others are not."""
    _alerted(Recorder(engine), rule, [_netcat("192.0.2.1", 4444), _netcat("192.0.2.2", 23)])
    for port in ("4444", "99"):
        assert (
            call("rules", "tune", "odd_port", "--exclude", f"DestinationPort={port}", "--reason", "meant to").code == 0
        )

    result = call("rules", "explain", "odd_port", "1")
    (told,) = json.loads(call("rules", "explain", "odd_port", "1", "--json").out)["passed_over"]

    assert "today 1 of 2 rows would be passed over: Odd port, but not: meant to (" in result.out
    assert result.out.count("passed over") == 1
    assert (told["path"], told["rows"]) == (str(rule.parent / "odd_port.filter1.yml"), 1)
