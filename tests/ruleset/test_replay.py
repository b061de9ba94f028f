"""Replays recorded snapshots through rules: each folder of tests/replay is a case.

A case holds `snapshots.jsonl`, one snapshot a line (`start`, `end`, and `counts` under the system's own field names,
with what the models said of a row among them; `losses`, `health` and `waited_seconds` if there are any), and
`findings.json`, all findings expected of them: the number of the line, the title of the rule, the group and the number
of rows. Between two lines nothing happened; with `unwatched` in the second, nobody watched. With `replaced` in the
first, the database took the place of a damaged one of this name; with `rules_refused`, so many rule files are refused.
The rules are those of the case's `rule.yml`, or all that ship, with the case's `lists`: a case of one rule so proves as
well that the others are silent.
"""

from __future__ import annotations

import json
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert

from detector import shipped
from detector.domain import (
    CHANNELS,
    CaptureHealth,
    ConnectionCount,
    ConnectionKey,
    Direction,
    Losses,
    Protocol,
    Snapshot,
)
from detector.ruleset.load import load_rules
from detector.store import rule_faults, silence
from detector.store.engine import open_store, writing
from detector.store.migrating import upgrade
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import replacements, tamperings
from tests.builders import observe, read_counts, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from detector.ruleset.evaluate import RuleSet

_CASES = Path(__file__).parents[1] / "replay"
_NAMES = sorted(path.name for path in _CASES.iterdir())
_MODELS = ("score", "surprise", "unusual", "channel", "novelty", *(f"p_{name}" for name in CHANNELS))
_COUNTS = ("session", "attempted", "established", "refused", "timed_out", "failed", "handshake_us_max")
_LEARNT = ("remote_name", "remote_country", "remote_network")


def _count(written: dict[str, Any]) -> ConnectionCount:
    of_count = {name: written[name] for name in (*_COUNTS, *_LEARNT) if name in written}
    if "login_address" in written:
        of_count["login_address"] = ip_address(written["login_address"])
    key = {name: value for name, value in written.items() if name not in (*of_count, *_MODELS)}
    key["direction"] = Direction(key.get("direction", "outbound"))
    key["protocol"] = Protocol(key.get("protocol", "tcp"))
    key["remote_address"] = ip_address(key["remote_address"]) if "remote_address" in key else None
    return ConnectionCount(key=ConnectionKey(**key), **of_count)


def _health(written: dict[str, Any]) -> CaptureHealth:
    since = written.get("blind_since")
    moment = {} if since is None else {"blind_since": datetime.fromisoformat(since)}
    return CaptureHealth(**{**written, **moment})


def _rules_of(*paths: Path) -> RuleSet:
    loaded = load_rules(paths)
    assert loaded.faults == ()
    return loaded.ruleset


def _replayed(engine: Engine, case: str, shipped_rules: RuleSet) -> list[dict[str, Any]]:
    folder = _CASES / case
    ruleset = _rules_of(folder / "rule.yml") if (folder / "rule.yml").exists() else shipped_rules
    if (folder / "lists").exists():
        ruleset = _rules_of(shipped.folder("rules"), folder)
        with writing(engine) as connection:
            ruleset.prepare(connection)
    writer = SnapshotWriter(case)
    findings = []
    watched = None
    for number, line in enumerate((folder / "snapshots.jsonl").read_text(encoding="utf-8").splitlines(), 1):
        written = json.loads(line)
        start, end = (datetime.fromisoformat(written[key]) for key in ("start", "end"))
        counts = [(_count(each), {name: each.get(name) for name in _MODELS}) for each in written["counts"]]
        snapshot = Snapshot(
            host=case,
            start=start,
            end=end,
            counts=tuple(count for count, _ in counts),
            losses=Losses(**written.get("losses", {})),
            health=_health(written.get("health", {})),
        )
        with writing(engine) as connection:
            if watched is not None and watched < start and not written.get("unwatched"):
                writer.write(connection, Snapshot(host=case, start=watched, end=start, counts=()))
            if "replaced" in written:
                values = {"replaced_at": start, "set_aside": written["replaced"], "reason": "malformed"}
                connection.execute(insert(replacements).values(values))
            ref = writer.write(connection, snapshot, waited_seconds=written.get("waited_seconds", 0.0))
            if "replaced" in written:
                connection.execute(delete(replacements))
            watched = end
            unpack(connection, ref)
            numbers = {each.count.key: each.key_id for each in read_counts(connection, ref)}
            if "silent_seconds" in written:
                silence.note(connection, ref, written["silent_seconds"], end)
            if "tampered" in written:
                values = {"host_id": ref.host_id, "seq": ref.seq, "noticed_at": end, "breaks": written["tampered"]}
                connection.execute(insert(tamperings).values(values | {"first_break": "snapshot 1 is missing"}))
            if "rules_refused" in written:
                rule_faults.note(connection, ref, written["rules_refused"], "mine.yml:4: level is never 'lwo'", end)
        observe(engine, ref, {numbers[count.key]: said for count, said in counts})
        with writing(engine) as connection:
            for finding in ruleset.evaluate(connection, ref):
                said = {"snapshot": number, "rule": finding.rule_title, "group": dict(finding.group)}
                findings.append({**said, "rows": len(finding.evidence)})
    return sorted(findings, key=str)


def _expected(case: str) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = json.loads((_CASES / case / "findings.json").read_text(encoding="utf-8"))
    return sorted(findings, key=str)


@pytest.fixture(scope="module")
def shipped_rules() -> RuleSet:
    """All that ship. What they remember they remember by host, and each case is one."""
    return _rules_of(shipped.folder("rules"))


@pytest.fixture(scope="module")
def all_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database for all cases: in each of its own the rules would be compiled anew."""
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('cases') / 'detector.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("case", _NAMES)
def test_a_case_gives_the_findings_that_are_written_down(case: str, all_cases: Engine, shipped_rules: RuleSet) -> None:
    """Every shipped rule fires on what it is for and is silent on what it is not for."""
    assert _replayed(all_cases, case, shipped_rules) == _expected(case)


@pytest.mark.postgres
def test_postgres_gives_the_same_findings(postgres_engine: Engine, shipped_rules: RuleSet) -> None:
    """All cases, each a host of one database, give on Postgres what is written down."""
    found = {case: _replayed(postgres_engine, case, shipped_rules) for case in _NAMES}
    assert found == {case: _expected(case) for case in _NAMES}
