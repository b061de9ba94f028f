"""`detector rules`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from detector.alerts.book import AlertBook
from detector.cli.terminal import as_json, local
from detector.domain import EvidenceRef, Finding, Severity
from detector.store.engine import open_store, writing
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call

_RULE = """\
title: {title}
id: {rule_id}
status: stable
description: A rule for a test.
author: tests
date: 2026-03-02
logsource:
  category: network_connection
  product: linux
detection:
  selection:
    Image|endswith: /nc
  condition: selection
level: {level}
"""
_ID = "5b0a1c1e-6d0c-4f43-9d2f-2f6f2c1d0e0{}"


def _rule(number: int, *, level: str = "high", title: str | None = None) -> str:
    return _RULE.format(title=title or f"Rule {number}", rule_id=_ID.format(number), level=level)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder of rules that is configured."""
    path = tmp_path / "rules"
    path.mkdir()
    monkeypatch.setenv("DETECTOR_RULES_FOLDERS", json.dumps([str(path)]))
    return path


def _record(url: str, *, rule: int, ages: list[timedelta]) -> datetime:
    """Findings of a rule, each so long ago; gives the end of the last one's snapshot."""
    engine = open_store(url)
    recorder = Recorder(engine, host=f"host of rule {rule}")
    book = AlertBook([], timedelta())
    for age in sorted(ages, reverse=True):
        recorder.now = datetime.now(UTC) - age
        ref = recorder.snapshot(count())
        finding = Finding(
            rule_id=_ID.format(rule),
            rule_title="Rule",
            severity=Severity.HIGH,
            fingerprint=f"{rule:032x}",
            group={},
            start=ref.start,
            end=ref.end,
            evidence=(EvidenceRef(seq=ref.seq, key_id=1, session=0),),
        )
        with writing(engine) as connection:
            book.record(connection, ref, [finding])
    engine.dispose()
    return ref.end


def test_rules_are_listed_with_their_hits(call: Call, store: str, folder: Path) -> None:
    """The most severe first, then by title, with how often each matched in a day and in a month."""
    (folder / "one.yml").write_text(_rule(1, level="low", title="Low"))
    (folder / "two.yml").write_text(_rule(2, title="Burst"))
    (folder / "three.yml").write_text(_rule(3, title="Arrow"))
    hour = _record(store, rule=2, ages=[timedelta(days=40), timedelta(days=2), timedelta(hours=1)])
    days = _record(store, rule=1, ages=[timedelta(days=29)])

    result = call("rules", "list")

    assert result.code == 0
    assert result.err == ""
    assert [re.split(r" {2,}", line) for line in result.lines] == [
        ["severity", "rule", "kind", "state", "24 h", "30 d", "last", "file"],
        ["high", "Arrow", "event", "active", "0", "0", "-", f"{folder}/three.yml:1"],
        ["high", "Burst", "event", "active", "1", "2", local(hour)[:16], f"{folder}/two.yml:1"],
        ["low", "Low", "event", "active", "0", "1", local(days)[:16], f"{folder}/one.yml:1"],
    ]


def test_json_has_every_field_of_a_rule(call: Call, store: str, folder: Path) -> None:
    """An object for each rule."""
    (folder / "one.yml").write_text(_rule(1))
    last = _record(store, rule=1, ages=[timedelta(hours=30), timedelta(hours=1)])

    assert json.loads(call("rules", "list", "--json").out) == [
        {
            "rule_id": _ID.format(1),
            "name": None,
            "title": "Rule 1",
            "severity": "high",
            "kind": "event",
            "state": "active",
            "why": "",
            "produces_findings": True,
            "description": "A rule for a test.",
            "path": f"{folder}/one.yml",
            "line": 1,
            "hits_24h": 1,
            "hits_30d": 2,
            "last_hit": as_json(last),
        }
    ]


@pytest.mark.usefixtures("store")
def test_refused_files_are_named_beside_the_list(call: Call, folder: Path) -> None:
    """A file with a fault is listed as refused; its faults are on standard error."""
    (folder / "good.yml").write_text(_rule(1))
    (folder / "bad.yml").write_text(_rule(2).replace("Image|endswith", "Imagine"))

    table, objects = call("rules", "list"), call("rules", "list", "--json")

    assert len(table.lines) == 3
    states = [(each["title"], each["state"]) for each in json.loads(objects.out)]
    assert states == [("Rule 1", "active"), ("Rule 2", "refused")]
    for result in (table, objects):
        assert result.code == 0
        fault, summary = result.err.splitlines()
        assert re.match(rf"{re.escape(str(folder))}/bad\.yml:12: .*Imagine", fault)
        assert summary == "not in force: 1 file, because of the faults above"


@pytest.mark.usefixtures("store")
def test_no_rules_are_said(call: Call, folder: Path) -> None:
    """An empty folder is a remark, not a fault."""
    assert list(folder.iterdir()) == []

    result = call("rules", "list")

    assert (result.code, result.out, result.err) == (0, "", "no rules are in force\n")
    assert call("rules", "list", "--json").out == "[]\n"


@pytest.mark.usefixtures("store")
def test_the_shipped_rules_are_in_force(call: Call) -> None:
    """Without configuration the shipped rules are listed, none refused."""
    result = call("rules", "list")

    assert result.code == 0
    assert result.err == ""
    assert len(result.lines) > 8


def test_the_shipped_rules_have_no_faults(call: Call) -> None:
    """`rules check` without paths checks what is in force; it needs no database."""
    result = call("rules", "check")

    assert result.code == 0
    assert re.fullmatch(r"\d+ rules, no faults\n", result.out)


def test_all_faults_are_printed(call: Call, folder: Path) -> None:
    """Each fault of each file is a line that an editor can jump to; the exit code is 65."""
    (folder / "one.yml").write_text(_rule(1).replace("level: high", "level: urgent"))
    (folder / "two.yml").write_text(_rule(2).replace("Image|endswith", "Imagine").replace("title", "titel"))

    result = call("rules", "check")

    assert result.code == 65
    assert result.out == ""
    *faults, summary = result.err.splitlines()
    assert len(faults) >= 3
    assert all(re.match(r"/.*/(one|two)\.yml:\d+: .", fault) for fault in faults)
    assert summary == f"detector: {len(faults)} faults; nothing was loaded from the files named"


def test_faults_as_json(call: Call, folder: Path) -> None:
    """A script gets path, line and message of each fault, and an empty list when there is none."""
    (folder / "one.yml").write_text(_rule(1))
    good = call("rules", "check", "--json")
    (folder / "two.yml").write_text(_rule(2).replace("Image|endswith", "Imagine"))
    bad = call("rules", "check", "--json")

    assert (good.code, good.out, good.err) == (0, "[]\n", "")
    assert bad.code == 65
    (fault,) = json.loads(bad.out)
    assert (fault["path"], fault["line"]) == (f"{folder}/two.yml", 12)
    assert "Imagine" in fault["message"]


def test_paths_can_be_files_and_folders(call: Call, tmp_path: Path) -> None:
    """Named files and folders are checked, and nothing else."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "one.yml").write_text(_rule(1))
    (tmp_path / "two.yml").write_text(_rule(2))
    (tmp_path / "bad.yml").write_text("title: [")

    assert call("rules", "check", tmp_path / "two.yml").out == "1 rule, no faults\n"
    assert call("rules", "check", tmp_path / "mine", tmp_path / "two.yml").out == "2 rules, no faults\n"
    assert call("rules", "check", tmp_path / "mine", tmp_path / "bad.yml").code == 65


def test_a_path_that_is_not_there_is_refused(call: Call, tmp_path: Path) -> None:
    """A misspelt path is not taken for a folder without faults."""
    result = call("rules", "check", tmp_path / "none.yml")

    assert result.code == 2
    assert "none.yml" in result.err


def test_hostile_titles_are_made_visible(call: Call, store: str, folder: Path) -> None:
    """What a rule file says does not act on the terminal."""
    (folder / "one.yml").write_text(_rule(1, title='"\\e[31m\\u202e[bold]"'))

    assert store
    for words in (["list"], ["check"], ["list", "--json"]):
        result = call("rules", *words)
        assert not re.search("[\x1b\u202e]", result.out + result.err)
