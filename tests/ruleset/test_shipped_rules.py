"""The rules that ship: complete, valid Sigma, and each incident told once."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
import yaml
from sigma.collection import SigmaCollection
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

from detector import shipped
from detector.ruleset.load import load_rules
from detector.ruleset.rules_page import page
from tests.builders import Recorder, count, observe
from tests.ruleset.writing import evaluated

if TYPE_CHECKING:
    from sigma.rule import SigmaRule
    from sqlalchemy import Engine

    from detector.ruleset.evaluate import Rule

_REPLAY = Path(__file__).parents[1] / "replay"
_FOLDER = shipped.folder("rules")
_LOADED = load_rules([_FOLDER])
_RULES = _LOADED.ruleset.rules
_FINDING = [rule for rule in _RULES if rule.produces_findings]


def test_the_shipped_rules_load() -> None:
    """No shipped file has a fault, and at least 45 rules report."""
    assert _LOADED.faults == ()
    assert len(_FINDING) >= 45


@pytest.mark.parametrize("rule", _FINDING, ids=lambda rule: Path(rule.path).stem)
def test_a_rule_tells_the_operator_what_to_do(rule: Rule) -> None:
    """A rule that reports says what to do, how often it is wrong and why, what it is for, and since when."""
    documents = yaml.safe_load_all(Path(rule.path).read_text(encoding="utf-8"))
    (written,) = (each for each in documents if each["id"] == rule.rule_id)
    assert "What to do: " in rule.description
    assert "xpected false alarms" in rule.description
    assert rule.false_positives
    assert any(re.fullmatch(r"attack\.[a-z-]+", tag) for tag in written["tags"])
    assert (written["author"], written["status"] in ("stable", "test")) == ("detector", True)
    assert isinstance(written["date"], date)


@pytest.mark.parametrize("rule", _FINDING, ids=lambda rule: Path(rule.path).stem)
def test_a_rule_has_a_case_that_fires_and_one_that_does_not(rule: Rule) -> None:
    """tests/replay holds both for each rule that reports."""
    stem = Path(rule.path).stem
    fires, silent = (
        json.loads((_REPLAY / f"{stem}_{how}" / "findings.json").read_text(encoding="utf-8"))
        for how in ("fires", "silent")
    )
    assert {finding["rule"] for finding in fires} == {rule.title}
    assert silent == []


def test_the_page_of_rules_is_made_from_them() -> None:
    """docs/shipped-rules.md is what `python -m detector.ruleset.rules_page` writes."""
    written = Path(__file__).parents[2] / "docs" / "shipped-rules.md"
    assert written.read_text(encoding="utf-8") == page()


def test_sigma_has_nothing_against_them() -> None:
    """pySigma parses all of them, and its validators that need no internet find nothing; ids are random UUIDs."""
    rules = cast("list[SigmaRule]", SigmaCollection.load_ruleset([_FOLDER]).rules)
    assert [error for rule in rules for error in rule.errors] == []
    offline = {checker for name, checker in validators.items() if not name.startswith(("attacktag", "d3_fendtag"))}
    assert SigmaValidator(offline).validate_rules(iter(rules)) == []
    assert {UUID(rule.rule_id).version for rule in _RULES} == {4}


def test_a_port_scan_of_this_machine_is_one_incident(engine: Engine) -> None:
    """300 ports of 127.0.0.1, one nc each, most of them refused: all findings share one fingerprint."""
    recorder = Recorder(engine)
    found = []
    for first in (1, 101, 201):
        scan = {
            "executable": "/usr/bin/nc.openbsd",
            "command": "nc",
            "user": "root",
            "login_user": "root",
            "session": 3,
        }
        rows = [count("127.0.0.1", port, attempted=1, refused=1, **scan) for port in range(first, first + 100)]
        if first == 1:
            rows[21] = count("127.0.0.1", 22, attempted=1, established=1, **scan)
            rows.append(count("127.0.0.1", 22, direction="inbound", executable="/usr/sbin/sshd", established=1))
        ref = recorder.snapshot(*rows)
        observe(engine, ref)
        found += evaluated(engine, _LOADED.ruleset, ref)
    assert [finding.rule_title for finding in found] == ["Port scan of one destination"] * 3
    assert len({finding.fingerprint for finding in found}) == 1
    assert [len(finding.evidence) for finding in found] == [100, 200, 300]
    assert found[0].group == {
        "login_user": "root",
        "user": "root",
        "executable": "/usr/bin/nc.openbsd",
        "remote_address": "127.0.0.1",
    }


_OUTSIDE = "198.51.100.66"
_WEB_SERVER = {"user": "www-data", "login_user": None, "unit": "nginx.service"}
_INCIDENTS: dict[str, tuple[list[Any], str]] = {
    "nmap sweeps a network for SSH": (
        [count(f"10.0.4.{end}", 22, executable="/usr/bin/nmap", refused=1) for end in range(1, 201)]
        + [count(f"10.0.4.{end}", 22, executable="/usr/bin/nmap") for end in range(201, 255)],
        "Sweep of many destinations",
    ),
    "hydra guesses passwords": (
        [count("10.0.4.12", 22, executable="/usr/bin/hydra", attempted=900, established=900)],
        "Password guessing at another machine",
    ),
    "a login page is tried with many passwords": (
        [count("10.0.4.12", 443, executable="/usr/bin/ffuf", attempted=900, established=900)],
        "Burst of connections to one service",
    ),
    "bash is a reverse shell of the web server": (
        [count(_OUTSIDE, 4444, executable="/usr/bin/bash", **_WEB_SERVER)],
        "Shell or netcat-like tool connects out",
    ),
    "Python is a reverse shell": (
        [count(_OUTSIDE, 4444, executable="/usr/bin/python3.11")],
        "Connection to a port that attack tools listen on",
    ),
    "a miner in /tmp": (
        [count(_OUTSIDE, 3333, executable="/tmp/.x/xmrig", **_WEB_SERVER)],
        "Program in a world-writable folder connects out",
    ),
    "an implant that deletes itself in memory": (
        [count(_OUTSIDE, 31337, executable="/memfd:x (deleted)", **_WEB_SERVER)],
        "Program in a world-writable folder connects out",
    ),
    "chisel through ngrok": (
        [count(_OUTSIDE, 443, executable="/dev/shm/chisel", command="chisel")],
        "Program in a world-writable folder connects out",
    ),
}


@pytest.mark.parametrize("incident", _INCIDENTS)
def test_an_incident_is_told_by_one_rule(incident: str, sqlite_engine: Engine) -> None:
    """What several rules might see is told by the one that says most of it."""
    rows, title = _INCIDENTS[incident]
    ref = Recorder(sqlite_engine).snapshot(*rows)
    observe(sqlite_engine, ref)
    assert [finding.rule_title for finding in evaluated(sqlite_engine, _LOADED.ruleset, ref)] == [title]
