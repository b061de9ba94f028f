"""The rules that ship: complete, valid Sigma, and each incident told once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest
import yaml
from sigma.collection import SigmaCollection
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

from detector import shipped
from detector.ruleset.load import load_rules
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
    """No shipped file has a fault, and at least eight rules report."""
    assert _LOADED.faults == ()
    assert len(_FINDING) >= 8


@pytest.mark.parametrize("rule", _FINDING, ids=lambda rule: Path(rule.path).stem)
def test_a_rule_tells_the_operator_what_to_do(rule: Rule) -> None:
    """A rule that reports says what to do, how often it is wrong and why, who wrote it and since when."""
    documents = yaml.safe_load_all(Path(rule.path).read_text(encoding="utf-8"))
    (written,) = (each for each in documents if each["id"] == rule.rule_id)
    assert "What to do: " in rule.description
    assert "xpected false alarms" in rule.description
    assert rule.false_positives
    assert (written["author"], str(written["date"]), written["status"]) == ("detector", "2026-11-23", "stable")


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
