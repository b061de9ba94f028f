"""Random rules over random rows give what a second, naive evaluator gives, on SQLite and on Postgres."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.domain import ConnectionCount, Direction
from detector.ruleset.load import load_rules
from detector.store import snapshots
from detector.store.engine import reading
from tests.builders import Recorder, count, observe
from tests.ruleset import naive

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.ruleset.evaluate import RuleSet

_HOSTS = itertools.count()
_ADDRESSES = ("10.0.0.1", "10.0.0.2", "192.168.7.7", "::1", "2001:db8::1")
_NETWORKS = ("10.0.0.0/8", "10.0.0.0/31", "192.168.7.7/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:a00:0/104")
_STORED = ("a", "A", "ab", "aB", "b%", "a_b", "a.b", "é", "É", "a\\b", "*", "b")
_PATTERNS = (
    *_STORED,
    *("A?b", "a*", "*B", "**", "?", "É*", "?\\b", "a%b", "b_", "%", "_"),
    *("\\*", "\\?", "a\\\\b", "a\\\\*", "a\\*", "a\\", "\\"),
)
_MODIFIERS = ("", "|contains", "|startswith", "|endswith")
_WRITTEN = st.sampled_from(_PATTERNS) | st.text("abAB%_é*?\\", min_size=1, max_size=4)
_NAMES = ("Image", "User", "LoginUser", "Command")
_LIKE = st.sampled_from(_MODIFIERS)


def _lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


@st.composite
def _texts(draw: st.DrawFn) -> tuple[str, Any]:
    key: str = draw(st.sampled_from(_NAMES)) + draw(_LIKE)
    if draw(st.booleans()):
        return key + "|all", draw(st.lists(_WRITTEN, min_size=1, max_size=3))
    return key, draw(_lists(_WRITTEN))


_SMALL = st.integers(0, 3)
_MEASURES = ("Session", "Attempted", "Refused", "Failed", "HandshakeUsMax")
_NUMBERS = st.tuples(st.sampled_from((*_MEASURES, "DestinationPort")), _lists(_SMALL | _SMALL.map(str)))
_COMPARED = st.tuples(
    st.builds(
        "{}|{}".format,
        st.sampled_from((*_MEASURES, "DestinationPort", "AnomalyScore")),
        st.sampled_from(("gt", "gte", "lt", "lte")),
    ),
    st.sampled_from((0, 1)),
)
_PLAIN_ITEMS = st.one_of(
    _texts(),
    _NUMBERS,
    _COMPARED,
    st.tuples(st.sampled_from(("DestinationIp", "SourceIp")), _lists(st.sampled_from(_ADDRESSES))),
    st.tuples(st.sampled_from(("DestinationIp|cidr", "SourceIp|cidr")), _lists(st.sampled_from(_NETWORKS))),
    st.tuples(st.just("Initiated"), st.sampled_from((True, False, "true", "False"))),
    st.tuples(st.just("Novelty"), _lists(st.sampled_from(("destination", "pair", "d*")))),
    st.tuples(st.just("AnomalyScore"), st.sampled_from((0, 0.5, 1))),
)
_OUTCOMES = st.tuples(st.just("Outcome"), _lists(st.sampled_from(naive.OUTCOMES)))


def _mappings(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(items, min_size=1, max_size=3).map(dict)
    return several | st.lists(several, min_size=1, max_size=2)


@st.composite
def _detections(draw: st.DrawFn) -> tuple[dict[str, Any], naive.Tree]:
    """Selections a1, a2 (with outcomes, never negated) and b1, b2 (without), and a condition over all of them."""
    positive = {f"a{i}": draw(_mappings(_PLAIN_ITEMS | _OUTCOMES)) for i in range(draw(st.integers(1, 2)))}
    free = {f"b{i}": draw(_mappings(_PLAIN_ITEMS)) for i in range(draw(st.integers(0, 2)))}
    parts: list[naive.Tree] = [("name", name) for name in positive]
    if draw(st.booleans()):
        parts = [(draw(st.sampled_from(("1 of", "all of"))), "a*")]
    if draw(st.booleans()) and free:
        quantifier: str = draw(st.sampled_from(("1 of", "all of")))
        parts.append(("not", (quantifier, "b*")))
    else:
        parts += [draw(st.sampled_from((("name", name), ("not", ("name", name))))) for name in free]
    tree = parts[0]
    for part in parts[1:]:
        tree = (draw(st.sampled_from(("and", "or"))), tree, part)
    return {**positive, **free}, tree


def _written(tree: naive.Tree) -> str:
    kind, *rest = tree
    if kind == "name":
        return str(rest[0])
    if kind in ("1 of", "all of"):
        return f"{kind} {rest[0]}"
    if kind == "not":
        return f"not ({_written(rest[0])})"
    return f"({_written(rest[0])}) {kind} ({_written(rest[1])})"


@st.composite
def _counts(draw: st.DrawFn, names: tuple[str | None, ...], addresses: tuple[str, ...]) -> ConnectionCount:
    drawn: dict[str, Any] = {
        name: draw(st.sampled_from(names)) for name in ("executable", "user", "login_user", "command")
    }
    return count(
        draw(st.sampled_from(addresses)),
        draw(st.integers(0, 2)),
        direction=draw(st.sampled_from(Direction)),
        unit=None,
        **drawn,
        **{name: draw(_SMALL) for name in ("session", *naive.OUTCOMES, "handshake_us_max")},
    )


_OBSERVED = st.fixed_dictionaries(
    {"score": st.sampled_from((None, 0.0, 0.5, 1.0)), "novelty": st.sampled_from((None, "destination", "pair"))}
)
# Pauses of whole intervals, so that ends fall on the edges of windows; a negative one is a clock set back.
_PAUSES = st.sampled_from((0, 10, 20, 50, -10, -20))


def _histories(counts: st.SearchStrategy[ConnectionCount]) -> st.SearchStrategy[Any]:
    rows = st.lists(st.tuples(counts, _OBSERVED), max_size=5)
    return st.lists(st.tuples(_PAUSES, rows), min_size=1, max_size=5)


_VARIED = _histories(_counts((None, *_STORED), _ADDRESSES))
# Few names, so that snapshots share groups.
_ALIKE = _histories(_counts((None, "a"), _ADDRESSES[:2]))
_BROAD = st.sampled_from(
    [
        ({"a1": {"Attempted|gte": 0}}, ("name", "a1")),
        ({"a1": {"Outcome": ["refused", "failed"]}}, ("name", "a1")),
        ({"a1": {"Outcome": "attempted", "Initiated": True}, "a2": {"Outcome": "refused"}}, ("1 of", "a*")),
    ]
)
_COUNTINGS = st.builds(
    naive.Counting,
    group_by=st.lists(
        st.sampled_from(("DestinationPort", "User", "DestinationIp", "Initiated", "Host")),
        min_size=1,
        max_size=2,
        unique=True,
    ),
    timespan=st.sampled_from((10, 20, 30, 80)).map(lambda seconds: timedelta(seconds=seconds)),
    operator=st.sampled_from(("gt", "gte", "lt", "lte", "eq")),
    threshold=st.integers(2, 6),
    field=st.sampled_from((None, "DestinationPort", "DestinationIp", "Image")),
)

_SOURCE = {"category": "network_connection", "product": "linux"}
_RULE_ID = "2f1c4e0e-52b3-4c1a-8a57-1f0f7c9d2b60"
_BASE_ID = "6f0f6a92-7a53-4a39-9d52-0f6d8b8d5a11"


def _event(detection: tuple[dict[str, Any], naive.Tree], rule_id: str) -> dict[str, Any]:
    selections, tree = detection
    return {
        "title": "random",
        "id": rule_id,
        "name": "base",
        "level": "low",
        "logsource": _SOURCE,
        "detection": {**selections, "condition": _written(tree)},
    }


def _correlation(counting: naive.Counting) -> dict[str, Any]:
    field = {} if counting.field is None else {"field": counting.field}
    return {
        "title": "random",
        "id": _RULE_ID,
        "level": "low",
        "correlation": {
            "type": "event_count" if counting.field is None else "value_count",
            "rules": ["base"],
            "group-by": list(counting.group_by),
            "timespan": f"{counting.timespan.seconds}s",
            "condition": {counting.operator: counting.threshold, **field},
        },
    }


def _loaded(folder: Path, *documents: dict[str, Any]) -> RuleSet | None:
    """The rules, or None for the one fault that random rules may have: they never hold."""
    path = folder / "rule.yml"
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")
    loaded = load_rules([folder])
    if loaded.faults:
        assert all("never holds" in fault.message for fault in loaded.faults), loaded.faults
        return None
    return loaded.ruleset


class _History:
    """Random snapshots, stored under a host of their own."""

    def __init__(self, engine: Engine, history: Any) -> None:
        recorder = Recorder(engine, host=f"Host-{next(_HOSTS)}")
        self.refs, self.rows = [], []
        for pause, drawn in history:
            recorder.pass_time(seconds=pause)
            ref = recorder.snapshot(*(counted for counted, _ in drawn))
            with reading(engine) as connection:
                stored = snapshots.read_counts(connection, ref)
            observed = dict(zip((each.key_id for each in stored), (values for _, values in drawn), strict=False))
            observe(engine, ref, observed)
            self.refs.append(ref)
            self.rows += [naive.row_of(ref.seq, each, observed[each.key_id], ref.host) for each in stored]
        self.ends = {ref.seq: ref.end for ref in self.refs}


def _check_event(engine: Engine, folder: Path, detection: Any, history: Any) -> None:
    ruleset = _loaded(folder, _event(detection, _RULE_ID))
    if ruleset is None:
        return
    selections, tree = detection
    stored = _History(engine, history)
    expected = naive.rows_matching(selections, tree, stored.rows)
    with reading(engine) as connection:
        findings = [finding for ref in stored.refs for finding in ruleset.evaluate(connection, ref)]
    assert {(e.seq, e.key_id, e.session) for f in findings for e in f.evidence} == expected.keys()


def _check_correlation(engine: Engine, folder: Path, detection: Any, history: Any, counting: naive.Counting) -> None:
    ruleset = _loaded(folder, _event(detection, _BASE_ID), _correlation(counting))
    if ruleset is None:
        return
    selections, tree = detection
    stored = _History(engine, history)
    weights = naive.rows_matching(selections, tree, stored.rows)
    # The last snapshot first: what comes later must not change what an earlier one gives.
    for ref in reversed(stored.refs):
        expected = naive.groups_passing(counting, weights, stored.rows, stored.ends, ref.seq)
        with reading(engine) as connection:
            findings = ruleset.evaluate(connection, ref)
        found = [frozenset((e.seq, e.key_id, e.session) for e in finding.evidence) for finding in findings]
        assert sorted(map(sorted, found)) == sorted(sorted(rows) for _, rows in expected)
        assert len({finding.fingerprint for finding in findings}) == len(findings)


def _rule_for(item: dict[str, Any]) -> dict[str, Any]:
    rule = _event(({"a": item}, ("name", "a")), str(uuid4()))
    return {key: value for key, value in rule.items() if key != "name"}


def _check_each(engine: Engine, folder: Path, items: list[dict[str, Any]], counts: list[ConnectionCount]) -> None:
    """Every one of `items` as a rule of its own against all of `counts`."""
    rules = [_rule_for(item) for item in items]
    ruleset = _loaded(folder, *rules)
    assert ruleset is not None
    stored = _History(engine, [(0, [(each, {}) for each in counts])])
    with reading(engine) as connection:
        findings = ruleset.evaluate(connection, stored.refs[0])
    for item, rule in zip(items, rules, strict=True):
        found = {(e.seq, e.key_id, e.session) for f in findings if f.rule_id == rule["id"] for e in f.evidence}
        assert found == naive.rows_matching({"a": item}, ("name", "a"), stored.rows).keys(), item


def test_every_pattern_matches_every_text_alike(engine: Engine, tmp_path: Path) -> None:
    """Wildcards, escapes, percent signs, backslashes and the case of letters mean the same on both databases."""
    items = [{f"User{modifier}": pattern} for modifier in _MODIFIERS for pattern in _PATTERNS]
    _check_each(engine, tmp_path, items, [count(user=user) for user in _STORED])


def test_every_network_holds_the_same_addresses(engine: Engine, tmp_path: Path) -> None:
    """Networks of both families, mapped and whole, hold the same addresses on both databases."""
    items = [{"DestinationIp|cidr": network} for network in _NETWORKS]
    items += [{"DestinationIp": address} for address in _ADDRESSES]
    _check_each(engine, tmp_path, items, [count(address) for address in _ADDRESSES])


_FAST = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_FEW = settings(_FAST, max_examples=25)


@_FAST
@given(detection=_detections(), history=_VARIED)
def test_single_event_rules_match_the_rows_that_they_say(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any
) -> None:
    """Fields, modifiers, lists, wildcards, outcomes and conditions select on SQLite what is expected."""
    _check_event(sqlite_engine, tmp_path, detection, history)


@_FAST
@given(detection=_BROAD | _detections(), history=_ALIKE, counting=_COUNTINGS)
def test_correlations_count_what_they_say(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: naive.Counting
) -> None:
    """Both correlations find on SQLite the groups, windows and rows that the naive evaluator finds."""
    _check_correlation(sqlite_engine, tmp_path, detection, history, counting)


@pytest.mark.postgres
@_FEW
@given(detection=_detections(), history=_VARIED)
def test_single_event_rules_match_the_same_rows_on_postgres(
    postgres_engine: Engine, tmp_path: Path, detection: Any, history: Any
) -> None:
    """Fields, modifiers, lists, wildcards, outcomes and conditions select on Postgres what is expected."""
    _check_event(postgres_engine, tmp_path, detection, history)


@pytest.mark.postgres
@_FEW
@given(detection=_BROAD | _detections(), history=_ALIKE, counting=_COUNTINGS)
def test_correlations_count_the_same_on_postgres(
    postgres_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: naive.Counting
) -> None:
    """Both correlations find on Postgres the groups, windows and rows that the naive evaluator finds."""
    _check_correlation(postgres_engine, tmp_path, detection, history, counting)
