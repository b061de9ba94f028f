"""Correlations: what is counted, over which window, for which groups, and how that is asked of the database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import event as sql_event

from detector.domain import EvidenceRef
from detector.ruleset import correlating
from tests.builders import START, Recorder, count
from tests.ruleset.writing import correlation, evaluated, event, loaded, rule_id

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from detector.ruleset.evaluate import RuleSet

_BY_PORT = {"field": "DestinationPort", "gte": 3}


def test_values_are_counted_over_the_window(engine: Engine, tmp_path: Path) -> None:
    """Distinct values of several snapshots add up; the finding spans them and names every row."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User", "DestinationIp"], _BY_PORT))
    first = recorder.snapshot(count(port=1), count(port=2), count("10.9.9.9", port=2))
    assert evaluated(engine, rules, first) == []
    recorder.pass_time(minutes=2)
    second = recorder.snapshot(count(port=2), count(port=3))
    (finding,) = evaluated(engine, rules, second)
    assert finding.group == {"user": "alice", "remote_address": "10.0.4.12"}
    assert (finding.start, finding.end) == (first.start, second.end)
    assert [(each.seq, each.key_id) for each in finding.evidence] == [(1, 1), (1, 2), (2, 2), (2, 4)]


def test_the_window_ends_with_the_snapshot(engine: Engine, tmp_path: Path) -> None:
    """A snapshot belongs to the window while its end is later than the current end less the timespan."""
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], _BY_PORT))
    for seconds, fires in ((289, True), (290, False), (300, False)):
        recorder = Recorder(engine, host=f"after-{seconds}")
        recorder.snapshot(count(port=1), count(port=2))
        recorder.pass_time(seconds=seconds)
        assert bool(evaluated(engine, rules, recorder.snapshot(count(port=3)))) is fires


def test_a_group_without_a_new_row_is_quiet(engine: Engine, tmp_path: Path) -> None:
    """What passed before is not found again by snapshots that add nothing to it."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], _BY_PORT))
    assert evaluated(engine, rules, recorder.snapshot(*(count(port=port) for port in range(3))))
    assert evaluated(engine, rules, recorder.snapshot(count(user="bob"))) == []
    assert evaluated(engine, rules, recorder.snapshot()) == []
    assert evaluated(engine, rules, recorder.snapshot(count(port=1)))


def test_catching_up_finds_what_was_found_live(engine: Engine, tmp_path: Path) -> None:
    """An earlier snapshot gives the same findings whatever was stored after it."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], _BY_PORT))
    live = []
    for port in range(6):
        ref = recorder.snapshot(count(port=port))
        live.append((ref, evaluated(engine, rules, ref)))
    assert [len(findings) for _, findings in live] == [0, 0, 1, 1, 1, 1]
    assert [evaluated(engine, rules, ref) for ref, _ in live] == [findings for _, findings in live]


def test_a_clock_set_back_does_not_bring_the_future_in(engine: Engine, tmp_path: Path) -> None:
    """Snapshots that end later than the current one are no part of its window, nor are those before the window."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], _BY_PORT))
    recorder.snapshot(count(port=1))
    recorder.pass_time(hours=2)
    recorder.snapshot(count(port=2))
    recorder.pass_time(hours=-2)
    recorder.snapshot(count(port=3))
    assert evaluated(engine, rules, recorder.snapshot(count(port=3))) == []
    (finding,) = evaluated(engine, rules, recorder.snapshot(count(port=4)))
    assert [each.seq for each in finding.evidence] == [1, 3, 4, 5]
    recorder.pass_time(hours=2)
    assert evaluated(engine, rules, recorder.snapshot(count(port=5))) == []


def test_events_are_connects(engine: Engine, tmp_path: Path) -> None:
    """A row weighs as many events as it counts connects."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], {"gte": 100}))
    assert evaluated(engine, rules, recorder.snapshot(count(attempted=99))) == []
    assert evaluated(engine, rules, recorder.snapshot(count(attempted=1)))


_WEIGHTS: tuple[tuple[Any, int], ...] = (
    ({"Initiated": True}, 100),
    ({"Outcome": "attempted"}, 100),
    ({"Outcome": "refused"}, 7),
    ({"Outcome": ["refused", "failed"]}, 10),
    ({"Outcome": ["Refused", "attempted"]}, 100),
    ([{"Outcome": "refused", "DestinationPort": 22}, {"Outcome": "failed", "DestinationPort": 23}], 7),
    ([{"Outcome": "refused"}, {"DestinationPort": 22}], 100),
    ([{"Outcome": "refused"}, {"DestinationPort": 23}], 7),
    ({"Refused|gte": 7}, 100),
)


def test_the_outcome_that_a_rule_names_is_what_counts(engine: Engine, tmp_path: Path) -> None:
    """The connects of a row that meet the rule are counted: all attempts, or those with an outcome that it names."""
    ref = Recorder(engine).snapshot(count(attempted=100, established=90, refused=7, failed=3))
    for selection, weight in _WEIGHTS:
        rules = loaded(
            tmp_path,
            event(selection),
            correlation(["User"], {"gte": weight}, number=2),
            correlation(["User"], {"gt": weight}, number=3),
        )
        assert [finding.rule_id for finding in evaluated(engine, rules, ref)] == [rule_id(2)], selection


def test_several_base_rules_count_a_connect_once(engine: Engine, tmp_path: Path) -> None:
    """What two base rules match is added up, and what both of them match is not counted twice."""
    ref = Recorder(engine).snapshot(count(attempted=10, refused=4, failed=3), count(port=80, attempted=5))
    rules = loaded(
        tmp_path,
        event({"Outcome": "refused"}, number=1),
        event({"Outcome": ["refused", "failed"]}, number=11),
        event({"DestinationPort": 80}, number=12),
        correlation(["User"], {"eq": 12}, rules=["rule_1", rule_id(11), "rule_12"]),
    )
    assert len(evaluated(engine, rules, ref)) == 1


def test_every_comparison_is_as_written(engine: Engine, tmp_path: Path) -> None:
    """gt, gte, lt, lte and eq compare counts and numbers of values with the threshold."""
    holding = ({"gt": 2}, {"gte": 3}, {"lt": 4}, {"lte": 3}, {"eq": 3})
    failing = ({"gt": 3}, {"gte": 4}, {"lt": 3}, {"lte": 2}, {"eq": 2})
    conditions = [{**each, **field} for each in (*holding, *failing) for field in ({}, {"field": "DestinationPort"})]
    ref = Recorder(engine).snapshot(*(count(port=port) for port in range(3)))
    correlations = [correlation(["User"], each, number=2 + index) for index, each in enumerate(conditions)]
    findings = evaluated(engine, loaded(tmp_path, event({"Initiated": True}), *correlations), ref)
    assert [finding.rule_id for finding in findings] == [rule_id(number) for number in range(2, 12)]


def test_base_rules_are_silent_unless_the_correlation_says_otherwise(engine: Engine, tmp_path: Path) -> None:
    """With generate: true the base rule reports by itself too; with Sigma's default only the correlation does."""
    ref = Recorder(engine).snapshot(count())
    for generate, expected in ((True, [rule_id(1), rule_id(2)]), (False, [rule_id(2)])):
        rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], {"gte": 1}, generate=generate))
        assert [finding.rule_id for finding in evaluated(engine, rules, ref)] == expected
        assert [rule.produces_findings for rule in rules.rules] == [generate, True]


def test_both_ends_of_a_port_are_two_groups(engine: Engine, tmp_path: Path) -> None:
    """DestinationPort groups outbound connections by remote port, inbound ones by local port, and never mixes them."""
    ref = Recorder(engine).snapshot(
        *(count("10.0.0.1", 22, direction=way, attempted=2) for way in ("outbound", "inbound"))
    )
    rules = loaded(tmp_path, event({"Attempted|gte": 1}), correlation(["DestinationPort"], {"eq": 2}))
    groups = [dict(finding.group) for finding in evaluated(engine, rules, ref)]
    assert sorted(groups, key=str) == [{"local_port": 22}, {"remote_port": 22}]


def test_what_is_unknown_is_a_group_of_its_own(engine: Engine, tmp_path: Path) -> None:
    """Connects without a login user count together: a daemon's scan is a scan."""
    rows = (count(port=port, login_user=None) for port in range(3))
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["LoginUser"], _BY_PORT))
    (finding,) = evaluated(engine, rules, Recorder(engine).snapshot(*rows))
    assert finding.group == {"login_user": None}
    assert finding.evidence == tuple(EvidenceRef(seq=1, key_id=key_id, session=0) for key_id in (1, 2, 3))


def test_unknown_values_are_not_counted_as_values(engine: Engine, tmp_path: Path) -> None:
    """A value_count counts what is known."""
    rows = (count(port=port, user=user) for port, user in enumerate(("a", "b", None)))
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["DestinationIp"], {"field": "User", "eq": 2}))
    assert len(evaluated(engine, rules, Recorder(engine).snapshot(*rows))) == 1


def test_a_field_is_added_up(engine: Engine, tmp_path: Path) -> None:
    """A value_sum adds up what a field of the matching rows says, whatever the rule counts, over all of the window."""
    recorder = Recorder(engine)
    summed = {"field": "Attempted", "gte": 1000}
    rules = loaded(tmp_path, event({"Outcome": "refused"}), correlation(["User"], summed, type="value_sum"))
    assert evaluated(engine, rules, recorder.snapshot(count(attempted=600, refused=1))) == []
    assert evaluated(engine, rules, recorder.snapshot(count(attempted=600, established=600))) == []
    (finding,) = evaluated(engine, rules, recorder.snapshot(count(attempted=400, refused=1)))
    assert [each.seq for each in finding.evidence] == [1, 3]


def test_a_range_has_two_ends(engine: Engine, tmp_path: Path) -> None:
    """A count passes between the two numbers of a range, and no longer when it grows out of it."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], {"gte": 10, "lt": 100}))
    passed = [bool(evaluated(engine, rules, recorder.snapshot(count(attempted=number)))) for number in (9, 1, 89, 1)]
    assert passed == [False, True, True, False]


def _steps(folder: Path, kind: str, **keys: Any) -> RuleSet:
    """Somebody scans (port 1), logs in (port 2) and takes something out (port 3)."""
    steps = [event({"DestinationPort": port}, number=10 + port, name=f"step_{port}") for port in (1, 2, 3)]
    section = {"type": kind, "rules": ["step_1", "step_2", "step_3"], "group-by": ["User"], "timespan": "5m", **keys}
    last = {"title": "all steps", "id": rule_id(2), "level": "high", "correlation": section}
    return loaded(folder, *steps, last)


def test_all_rules_must_match_in_any_order(engine: Engine, tmp_path: Path) -> None:
    """A temporal correlation finds a group when the last of its rules has matched there, with the rows of all."""
    recorder = Recorder(engine)
    rules = _steps(tmp_path, "temporal")
    assert evaluated(engine, rules, recorder.snapshot(count(port=3), count(port=2, user="bob"))) == []
    assert evaluated(engine, rules, recorder.snapshot(count(port=1), count(port=3, user="bob"))) == []
    (finding,) = evaluated(engine, rules, recorder.snapshot(count(port=2), count(port=9)))
    assert finding.group == {"user": "alice"}
    assert [each.seq for each in finding.evidence] == [1, 2, 3]


def test_rules_must_match_in_their_order(engine: Engine, tmp_path: Path) -> None:
    """A temporal_ordered correlation wants a snapshot for each rule, none earlier than that of the rule before it."""
    orders = {(1, 2, 3): True, (1, 3, 2): False, (3, 2, 1): False, (2, 1, 2, 3): True, (1, 3, 2, 9, 3): True}
    rules = _steps(tmp_path, "temporal_ordered")
    for order, found in orders.items():
        recorder = Recorder(engine, host=str(order))
        last = [evaluated(engine, rules, recorder.snapshot(count(port=port))) for port in order][-1]
        assert bool(last) is found, order


def test_within_a_snapshot_any_order_will_do(engine: Engine, tmp_path: Path) -> None:
    """Nobody knows what came first of the rows of one snapshot: they count in the order that the rules want."""
    recorder = Recorder(engine)
    rules = _steps(tmp_path, "temporal_ordered")
    assert evaluated(engine, rules, recorder.snapshot(count(port=2), count(port=1))) == []
    assert evaluated(engine, rules, recorder.snapshot(count(port=3)))


def test_the_first_step_must_be_within_the_window(engine: Engine, tmp_path: Path) -> None:
    """When the beginning has left the window, the end of a chain finds nothing; a later beginning counts anew."""
    recorder = Recorder(engine)
    rules = _steps(tmp_path, "temporal_ordered")
    evaluated(engine, rules, recorder.snapshot(count(port=1)))
    recorder.pass_time(minutes=4)
    evaluated(engine, rules, recorder.snapshot(count(port=2)))
    recorder.pass_time(minutes=2)
    assert evaluated(engine, rules, recorder.snapshot(count(port=3))) == []
    evaluated(engine, rules, recorder.snapshot(count(port=1)))
    evaluated(engine, rules, recorder.snapshot(count(port=2)))
    assert evaluated(engine, rules, recorder.snapshot(count(port=3)))


def test_a_condition_says_which_rules_must_match(engine: Engine, tmp_path: Path) -> None:
    """A number asks for so many of the rules; words join them by and, or and not, and may stand for their list."""
    ref = Recorder(engine).snapshot(count(port=1), count(port=2))
    for condition, found in {
        "step_1 and step_2 and not step_3": True,
        "step_1 and (step_2 or step_3)": True,
        "(step_1 or step_2) and step_3": False,
    }.items():
        assert bool(evaluated(engine, _steps(tmp_path, "temporal", condition=condition), ref)) is found, condition
    assert evaluated(engine, _steps(tmp_path, "temporal", condition={"gte": 2}), ref)
    assert not evaluated(engine, _steps(tmp_path, "temporal", condition={"gt": 2}), ref)


def test_the_rows_behind_a_finding_are_limited(sqlite_engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    """Of a window with very many rows a finding names the newest, but always all of the snapshot at hand."""
    monkeypatch.setattr(correlating, "MOST_ROWS", 4)
    recorder = Recorder(sqlite_engine)
    few = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], {"gte": 5}))
    for _ in range(3):
        recorder.snapshot(count(port=1), count(port=2))
    (finding,) = evaluated(sqlite_engine, few, recorder.snapshot(count(port=1), count(port=2)))
    assert [each.seq for each in finding.evidence] == [3, 3, 4, 4]
    (finding,) = evaluated(sqlite_engine, few, recorder.snapshot(*(count(port=port) for port in range(6))))
    assert [each.seq for each in finding.evidence] == [5] * 6
    many = [count(port=1, user=f"user{number}") for number in range(20)]
    recorder.snapshot(*many)
    findings = evaluated(sqlite_engine, few, recorder.snapshot(*(replace(each, attempted=9) for each in many)))
    assert [len(each.evidence) for each in findings] == [2] * 20


def _plans(engine: Engine, rules: RuleSet, recorder: Recorder) -> list[str]:
    """How SQLite runs each statement of an evaluation."""
    statements: list[tuple[str, Any]] = []

    def remember(_c: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        statements.append((statement, parameters))

    ref = recorder.snapshot(*(count(port=port) for port in range(4)))
    sql_event.listen(engine, "before_cursor_execute", remember)
    assert evaluated(engine, rules, ref)
    sql_event.remove(engine, "before_cursor_execute", remember)
    with engine.connect() as connection:
        return [
            "; ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
            for statement, parameters in statements
            if statement.startswith("SELECT")
        ]


def test_windows_are_read_through_primary_keys(sqlite_engine: Engine, tmp_path: Path) -> None:
    """No statement scans a table, and counts are reached by host and a range of snapshots."""
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], _BY_PORT))
    recorder = Recorder(sqlite_engine)
    # Not seen by these rules: else they would know that the window is empty.
    recorder.snapshot(count(user="bob"))
    plans = _plans(sqlite_engine, rules, recorder)
    assert len(plans) == 4
    for plan in plans:
        assert "SCAN" not in plan
        for table in ("observations", "hosts", "login_origins", "destination_names"):
            assert table not in plan
    assert "ix_snapshots_host_id_end (host_id=? AND end>? AND end<?)" in plans[1]
    for plan in plans[2:]:
        first = plan.split("; ")[0]
        assert "PRIMARY KEY (host_id=? AND seq>? AND seq<?)" in first


def test_history_before_the_window_costs_nothing(sqlite_engine: Engine, tmp_path: Path) -> None:
    """The first number that a window asks for is that of its first snapshot."""
    recorder = Recorder(sqlite_engine)
    for _ in range(50):
        recorder.snapshot(count(port=1))
    asked: list[Any] = []
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], _BY_PORT, timespan="30s"))
    ref = recorder.snapshot(*(count(port=port) for port in range(4)))
    sql_event.listen(
        sqlite_engine,
        "before_cursor_execute",
        lambda _c, _u, statement, parameters, *_r: asked.append((statement, parameters)),
    )
    assert evaluated(sqlite_engine, rules, ref)
    windows = [parameters for statement, parameters in asked if "GROUP BY" in statement]
    assert len(windows) == 1
    assert {49, 50} <= set(windows[0])
    assert recorder.now > START
