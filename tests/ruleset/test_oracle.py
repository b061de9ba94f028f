"""Random rules over random rows give what a second, naive evaluator gives, on SQLite and on Postgres."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.domain import CaptureHealth, Losses
from detector.ruleset import windows
from detector.ruleset.load import load_rules
from detector.store.engine import reading, writing
from tests.builders import Recorder, count, observe, read_counts
from tests.examples import examples
from tests.ruleset import naive
from tests.ruleset.strategies import (
    ADDRESSES,
    ALIKE,
    BROAD,
    CAPTURE_COUNTINGS,
    COUNTINGS,
    KINDS,
    MODIFIERS,
    NARROW,
    NETWORKS,
    OF_CAPTURE,
    PATTERNS,
    SECONDS,
    SNAPSHOTS,
    STORED,
    TEMPORALS,
    VARIED,
    detections,
)
from tests.ruleset.writing import write_list

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import SnapshotRef
    from detector.ruleset.evaluate import RuleSet

_HOSTS = itertools.count()
_RULE_ID = "2f1c4e0e-52b3-4c1a-8a57-1f0f7c9d2b60"
_BASE_IDS = (
    "6f0f6a92-7a53-4a39-9d52-0f6d8b8d5a11",
    "7b1c8d04-1e65-4b7a-8c93-2a4d6f8091b3",
    "8c2d9e15-2f76-4c8b-9da4-3b5e709a12c4",
)


def _written(tree: naive.Tree) -> str:
    kind, *rest = tree
    if kind == "name":
        return str(rest[0])
    if kind in ("1 of", "all of"):
        return f"{kind} {rest[0]}"
    if kind == "not":
        return f"not ({_written(rest[0])})"
    return f"({_written(rest[0])}) {kind} ({_written(rest[1])})"


def _event(
    detection: tuple[dict[str, Any], naive.Tree], rule_id: str, category: str, number: int = 0
) -> dict[str, Any]:
    selections, tree = detection
    return {
        "title": "random",
        "id": rule_id,
        "name": naive.rule_name(number),
        "level": "low",
        "logsource": {"category": category, "product": "linux"},
        "detection": {**selections, "condition": _written(tree)},
    }


def _correlation(counting: naive.Counting, rules: int) -> dict[str, Any]:
    condition: Any = counting.condition
    if isinstance(condition, tuple):
        condition = _written(condition)
    elif counting.field is not None:
        condition = {**condition, "field": counting.field}
    return {
        "title": "random",
        "id": _RULE_ID,
        "level": "low",
        "correlation": {
            "type": counting.kind,
            "rules": [naive.rule_name(number) for number in range(rules)],
            "group-by": list(counting.group_by),
            "timespan": f"{counting.timespan.seconds}s",
            **({} if condition is None else {"condition": condition}),
        },
    }


def _loaded(folder: Path, *documents: dict[str, Any]) -> RuleSet | None:
    """The rules, or None for the one fault that random rules may have: they never hold."""
    path = folder / "rule.yml"
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")
    if not (folder / "lists").exists():
        for name, lines in naive.LISTS.items():
            write_list(folder, name, *lines)
    loaded = load_rules([folder])
    if loaded.faults:
        assert all("never holds" in fault.message for fault in loaded.faults), loaded.faults
        return None
    return loaded.ruleset


class _History:
    """Random snapshots, stored under a host of their own, and what rules see of their counts."""

    category = "network_connection"

    def __init__(self, engine: Engine, history: Any) -> None:
        recorder = Recorder(engine, host=f"Host-{next(_HOSTS)}")
        self.refs, self.rows = [], []
        for pause, drawn in history:
            recorder.pass_time(seconds=pause)
            ref = recorder.snapshot(*(counted for counted, _ in drawn))
            with reading(engine) as connection:
                stored = read_counts(connection, ref)
            observed = dict(zip((each.key_id for each in stored), (values for _, values in drawn), strict=False))
            observe(engine, ref, observed)
            self.refs.append(ref)
            self.rows += [naive.row_of(ref, each, observed[each.key_id]) for each in stored]
        self.ends = {ref.seq: ref.end for ref in self.refs}


class _Taken:
    """Random snapshots that were taken well or not, and what rules see of that."""

    category = "capture"

    def __init__(self, engine: Engine, history: Any) -> None:
        recorder = Recorder(engine, host=f"Host-{next(_HOSTS)}")
        self.refs: list[SnapshotRef] = []
        self.rows: list[naive.Row] = []
        for pause, losses, (health, blind) in history:
            before = recorder.now
            recorder.pass_time(seconds=pause)
            if blind is not None:
                health = replace(health, blind_since=recorder.now + timedelta(seconds=blind))  # noqa: PLW2901
            # What was counted in it is another category's.
            ref = recorder.snapshot(count(), losses=losses, health=health)
            gap = (ref.start - before).total_seconds() if self.refs else 0.0
            self.refs.append(ref)
            self.rows.append(naive.row_of_snapshot(ref, losses, health, gap))
        self.ends = {ref.seq: ref.end for ref in self.refs}


def _prepare(engine: Engine, ruleset: RuleSet) -> None:
    with writing(engine) as connection:
        ruleset.prepare(connection)


def _check_event(engine: Engine, folder: Path, detection: Any, stored: _History | _Taken) -> None:
    ruleset = _loaded(folder, _event(detection, _RULE_ID, stored.category))
    selections, tree = detection
    expected = naive.rows_matching(selections, tree, stored.rows)
    if ruleset is None:
        assert not expected
        return
    _prepare(engine, ruleset)
    with reading(engine) as connection:
        findings = [finding for ref in stored.refs for finding in ruleset.evaluate(connection, ref)]
    assert {(e.seq, e.key_id, e.session) for f in findings for e in f.evidence} == expected.keys()


def _check_correlation(
    engine: Engine, folder: Path, detections: Sequence[Any], stored: _History | _Taken, counting: naive.Counting
) -> None:
    bases = [
        _event(detection, _BASE_IDS[number], stored.category, number) for number, detection in enumerate(detections)
    ]
    documents = *bases, _correlation(counting, len(bases))
    backward, forward, shared = (_loaded(folder, *documents) for _ in range(3))
    matched = [naive.rows_matching(selections, tree, stored.rows) for selections, tree in detections]
    if backward is None or forward is None or shared is None:
        # One that never holds takes the others with it.
        assert not all(matched)
        return
    _prepare(engine, backward)
    expected = {
        ref.seq: sorted(
            sorted(rows) for _, rows in naive.groups_passing(counting, matched, stored.rows, stored.ends, ref.seq)
        )
        for ref in stored.refs
    }
    # The last snapshot first: what comes later must not change what an earlier one gives. Then in order, as they come,
    # some twice, as after a transaction that was rolled back, and some not at all, as when another worker had them.
    for ref in reversed(stored.refs):
        assert _evidence(engine, backward, ref) == expected[ref.seq]
    for ref in stored.refs:
        for _ in range((1, 2, 0)[ref.seq % 3]):
            assert _evidence(engine, forward, ref) == expected[ref.seq]
    # A window that is read as long ones are.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LONG", 1)
        for ref in stored.refs[-2:]:
            assert _evidence(engine, shared, ref) == expected[ref.seq]


def _evidence(engine: Engine, ruleset: RuleSet, ref: SnapshotRef) -> list[list[tuple[int, int, int]]]:
    """The rows of each finding; no two findings are of one group."""
    with reading(engine) as connection:
        findings = ruleset.evaluate(connection, ref)
    assert len({finding.fingerprint for finding in findings}) == len(findings)
    return sorted(sorted((e.seq, e.key_id, e.session) for e in finding.evidence) for finding in findings)


def _rule_for(item: dict[str, Any], category: str) -> dict[str, Any]:
    rule = _event(({"a": item}, ("name", "a")), str(uuid4()), category)
    return {key: value for key, value in rule.items() if key != "name"}


def _check_each(engine: Engine, folder: Path, items: list[dict[str, Any]], stored: _History | _Taken) -> None:
    """Every one of `items` as a rule of its own against all that is stored."""
    rules = [_rule_for(item, stored.category) for item in items]
    ruleset = _loaded(folder, *rules)
    assert ruleset is not None
    with reading(engine) as connection:
        findings = [finding for ref in stored.refs for finding in ruleset.evaluate(connection, ref)]
    for item, rule in zip(items, rules, strict=True):
        found = {(e.seq, e.key_id, e.session) for f in findings if f.rule_id == rule["id"] for e in f.evidence}
        assert found == naive.rows_matching({"a": item}, ("name", "a"), stored.rows).keys(), item


def test_every_pattern_matches_every_text_alike(engine: Engine, tmp_path: Path) -> None:
    """Wildcards, escapes, percent signs, backslashes and the case of letters mean the same on both databases."""
    items = [{f"User{modifier}": pattern} for modifier in MODIFIERS for pattern in PATTERNS]
    _check_each(engine, tmp_path, items, _History(engine, [(0, [(count(user=user), {}) for user in STORED])]))


def test_every_network_holds_the_same_addresses(engine: Engine, tmp_path: Path) -> None:
    """Networks of both families, mapped and whole, hold the same addresses on both databases, and never the unknown."""
    fields = ("DestinationIp", "LoginIp")
    items: list[dict[str, Any]] = [{f"{name}|cidr": network} for network in NETWORKS for name in fields]
    items += [{name: address} for address in ADDRESSES for name in fields]
    items += [{f"{name}|exists": there} for there in (True, False) for name in fields]
    counts = [count(address, login_address=address) for address in (None, *ADDRESSES)]
    _check_each(engine, tmp_path, items, _History(engine, [(0, [(each, {}) for each in counts])]))


def test_every_way_to_be_incomplete_is_seen(engine: Engine, tmp_path: Path) -> None:
    """Each field of capture gives the same on both databases for snapshots that differ from a good one in one thing."""
    numbers = (*KINDS, *SECONDS)
    items: list[dict[str, Any]] = [{f"{name}|{how}": 1} for name in numbers for how in ("gt", "gte", "lt", "lte")]
    items += [{f"{name}|exists": there} for name in (*SECONDS, "SelfTest", "Unseen") for there in (True, False)]
    items += [
        {"Complete": True},
        {"Complete": False},
        {"SelfTest": "passed"},
        {"SelfTest": "failed"},
        {"Unseen": "A; b"},
    ]
    items += [{"ClockStepSeconds|lte": -1}, {"BlindSeconds": 0}, {"BlindSeconds": 15.5}, {"Lost": 3}]
    good = CaptureHealth(self_test_passed=True)
    histories: list[Any] = [(0, Losses(**{kind: 3}), (good, None)) for kind in Losses.__dataclass_fields__]
    histories += [(pause, Losses(), (good, None)) for pause in (0, 0.5, 1, 1.001, 20, -10)]
    histories += [(0, Losses(), (replace(good, late_seconds=late), None)) for late in (0.5, 1, 1.001)]
    histories += [(0, Losses(), (replace(good, clock_step_seconds=step), None)) for step in (-30, -1, 1, 30)]
    histories += [(0, Losses(), (replace(good, self_test_passed=passed), None)) for passed in (None, False)]
    histories += [(0, Losses(), (CaptureHealth(self_test_passed=False), blind)) for blind in (-5.5, 0, 9, 10, 15)]
    histories += [(0, Losses(), (replace(good, suspended_seconds=1, unseen=("a", "b")), None))]
    _check_each(engine, tmp_path, items, _Taken(engine, histories))


_FAST = settings(
    max_examples=examples(120), derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_FEW = settings(_FAST, max_examples=examples(25))


@_FAST
@given(detection=detections(), history=VARIED)
def test_single_event_rules_match_the_rows_that_they_say(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any
) -> None:
    """Fields, modifiers, lists, wildcards, outcomes and conditions select on SQLite what is expected."""
    _check_event(sqlite_engine, tmp_path, detection, _History(sqlite_engine, history))


@_FAST
@given(detection=BROAD | detections(), history=ALIKE, counting=COUNTINGS)
def test_correlations_count_what_they_say(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: naive.Counting
) -> None:
    """Correlations that count find on SQLite the groups, windows and rows that the naive evaluator finds."""
    _check_correlation(sqlite_engine, tmp_path, [detection], _History(sqlite_engine, history), counting)


@pytest.mark.postgres
@_FEW
@given(detection=detections(), history=VARIED)
def test_single_event_rules_match_the_same_rows_on_postgres(
    postgres_engine: Engine, tmp_path: Path, detection: Any, history: Any
) -> None:
    """Fields, modifiers, lists, wildcards, outcomes and conditions select on Postgres what is expected."""
    _check_event(postgres_engine, tmp_path, detection, _History(postgres_engine, history))


@pytest.mark.postgres
@_FEW
@given(detection=BROAD | detections(), history=ALIKE, counting=COUNTINGS)
def test_correlations_count_the_same_on_postgres(
    postgres_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: naive.Counting
) -> None:
    """Correlations that count find on Postgres the groups, windows and rows that the naive evaluator finds."""
    _check_correlation(postgres_engine, tmp_path, [detection], _History(postgres_engine, history), counting)


@_FAST
@given(several=st.lists(NARROW | BROAD, min_size=3, max_size=3), history=ALIKE, counting=TEMPORALS)
def test_correlations_of_several_rules_match_as_they_say(
    sqlite_engine: Engine, tmp_path: Path, several: Sequence[Any], history: Any, counting: naive.Counting
) -> None:
    """Rules that must all match, some of them, or in their order, do so on SQLite as the naive evaluator says."""
    _check_correlation(sqlite_engine, tmp_path, several, _History(sqlite_engine, history), counting)


@pytest.mark.postgres
@_FEW
@given(several=st.lists(NARROW | BROAD, min_size=3, max_size=3), history=ALIKE, counting=TEMPORALS)
def test_correlations_of_several_rules_match_the_same_on_postgres(
    postgres_engine: Engine, tmp_path: Path, several: Sequence[Any], history: Any, counting: naive.Counting
) -> None:
    """Rules that must all match, some of them, or in their order, do so on Postgres as the naive evaluator says."""
    _check_correlation(postgres_engine, tmp_path, several, _History(postgres_engine, history), counting)


@_FAST
@given(detection=OF_CAPTURE, history=SNAPSHOTS)
def test_capture_rules_match_the_snapshots_that_they_say(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any
) -> None:
    """Losses, self-test, seconds and what is unseen select on SQLite the snapshots that are expected."""
    _check_event(sqlite_engine, tmp_path, detection, _Taken(sqlite_engine, history))


@_FAST
@given(
    detection=st.just(({"a1": {"Host": "*"}}, ("name", "a1"))) | OF_CAPTURE,
    history=SNAPSHOTS,
    counting=CAPTURE_COUNTINGS,
)
def test_correlations_count_snapshots(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: naive.Counting
) -> None:
    """Of capture, each snapshot counts once, in the windows and groups of the naive evaluator."""
    _check_correlation(sqlite_engine, tmp_path, [detection], _Taken(sqlite_engine, history), counting)


@pytest.mark.postgres
@_FEW
@given(detection=OF_CAPTURE, history=SNAPSHOTS, counting=CAPTURE_COUNTINGS)
def test_capture_rules_match_the_same_snapshots_on_postgres(
    postgres_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: naive.Counting
) -> None:
    """Single-event rules and correlations over capture find on Postgres what the naive evaluator finds."""
    stored = _Taken(postgres_engine, history)
    _check_event(postgres_engine, tmp_path, detection, stored)
    _check_correlation(postgres_engine, tmp_path, [detection], stored, counting)
