"""A back-test finds in the stored past what live detection found there, snapshot by snapshot."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from detector.service import replaying
from detector.service.backtesting import Policy, backtest, found
from detector.service.replaying import Wanted
from detector.store import past, rollups, summed
from detector.store.cursors import advance_cursor, create_cursors
from detector.store.engine import reading, writing
from detector.store.tables import packed_counts
from tests.builders import START, Recorder, count
from tests.examples import examples
from tests.ruleset.strategies import (
    ALIKE,
    BROAD,
    CAPTURE_COUNTINGS,
    COUNTINGS,
    OF_CAPTURE,
    SNAPSHOTS,
    VARIED,
    detections,
)
from tests.ruleset.test_oracle import _BASE_IDS, _RULE_ID, _correlation, _event, _History, _loaded, _Taken
from tests.ruleset.writing import correlation, event, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import RuleSet

_FAST = settings(
    max_examples=examples(20),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_FEW = settings(_FAST, max_examples=8)
# What a test of a few rows takes for many.
_SMALL = st.fixed_dictionaries(
    {
        "rows_at_once": st.sampled_from((1, 3, 50_000)),
        "few_keys": st.sampled_from((0, 2, 2_000)),
        "few_snapshots": st.sampled_from((-1, 2_000)),
        # How many of the snapshots are added up.
        "rolled": st.sampled_from((0, 2, 5, 5)),
    }
)


def _roll(engine: Engine, refs: list[SnapshotRef], number: int) -> None:
    """Detection has seen the first snapshots, and hours and days know of them."""
    if not number:
        return
    with writing(engine) as connection:
        create_cursors(connection)
        advance_cursor(connection, refs[:number][-1])
    while rollups.advance(engine, refs[0].host_id, now=START + timedelta(days=365)).more:
        pass


def _check(engine: Engine, ruleset: RuleSet | None, refs: list[SnapshotRef], small: dict[str, Any]) -> None:
    if ruleset is None:
        return
    with writing(engine) as connection:
        ruleset.prepare(connection)
    with reading(engine) as connection:
        live = {ref.seq: findings for ref in refs if (findings := ruleset.evaluate(connection, ref))}
    _roll(engine, refs, small["rolled"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replaying, "ROWS_AT_ONCE", small["rows_at_once"])
        patch.setattr(replaying, "NUMBERS_AT_ONCE", small["rows_at_once"])
        patch.setattr(summed, "_FEW_KEYS", small["few_keys"])
        patch.setattr(past, "_FEW_SNAPSHOTS", small["few_snapshots"])
        assert _found(engine, ruleset, Wanted(host=refs[0].host)) == live


def _found(engine: Engine, ruleset: RuleSet, wanted: Wanted) -> dict[int, list[Finding]]:
    rule = next(each for each in ruleset.rules if each.produces_findings)
    return {ref.seq: findings for ref, findings in found(engine, rule, wanted)}


@_FAST
@given(detection=detections(), history=VARIED, small=_SMALL)
def test_single_event_rules_find_what_they_found(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, small: dict[str, Any]
) -> None:
    """Any single-event rule finds in any history, packed and added up or not, what it found live, on SQLite."""
    stored = _History(sqlite_engine, history)
    _check(sqlite_engine, _loaded(tmp_path, _event(detection, _RULE_ID, stored.category)), stored.refs, small)


@_FAST
@given(detection=BROAD | detections(), history=ALIKE, counting=COUNTINGS, small=_SMALL)
def test_correlations_find_what_they_found(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: Any, small: dict[str, Any]
) -> None:
    """So does any correlation, clocks that were set back included."""
    stored = _History(sqlite_engine, history)
    rules = _loaded(tmp_path, _event(detection, _BASE_IDS[0], stored.category), _correlation(counting, 1))
    _check(sqlite_engine, rules, stored.refs, small)


@_FEW
@given(detection=OF_CAPTURE, history=SNAPSHOTS, counting=CAPTURE_COUNTINGS, small=_SMALL)
def test_rules_about_capture_find_what_they_found(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: Any, small: dict[str, Any]
) -> None:
    """So do rules and correlations about how well snapshots were taken."""
    stored = _Taken(sqlite_engine, history)
    base = _event(detection, _BASE_IDS[0], stored.category)
    _check(sqlite_engine, _loaded(tmp_path, base), stored.refs, small)
    _check(sqlite_engine, _loaded(tmp_path, base, _correlation(counting, 1)), stored.refs, small)


@pytest.mark.postgres
@_FEW
@given(detection=BROAD | detections(), history=ALIKE, counting=COUNTINGS, small=_SMALL)
def test_postgres_gives_the_same(
    postgres_engine: Engine, tmp_path: Path, detection: Any, history: Any, counting: Any, small: dict[str, Any]
) -> None:
    """Single-event rules and correlations find in a history on Postgres what they found live there."""
    stored = _History(postgres_engine, history)
    base = _event(detection, _BASE_IDS[0], stored.category)
    _check(postgres_engine, _loaded(tmp_path, base), stored.refs, small)
    _check(postgres_engine, _loaded(tmp_path, base, _correlation(counting, 1)), stored.refs, small)


def test_a_clock_that_was_set_back_over_what_is_added_up_hides_nothing(engine: Engine, tmp_path: Path) -> None:
    """What is not added up yet may have a window that reaches beyond its own start into what is."""
    recorder = Recorder(engine)
    refs = []
    for attempted in (1, 0, 3):
        refs.append(recorder.snapshot(*([count(attempted=attempted)] if attempted else [])))
        recorder.pass_time(seconds=-10)
    rules = loaded(
        tmp_path,
        event({"DestinationPort": 22}),
        correlation(["DestinationPort"], {"gt": 3}, timespan="10s"),
    )

    _check(engine, rules, refs, {"rows_at_once": 1, "few_keys": 0, "few_snapshots": -1, "rolled": 2})


def _many(engine: Engine, number: int, *, every: int) -> list[SnapshotRef]:
    """Snapshots of ten seconds; one in `every` has alice's telnet beside what is usual."""
    recorder = Recorder(engine)
    telnet = count("192.0.2.1", 23, executable="/usr/bin/telnet")
    return [recorder.snapshot(count(), *([telnet] if each % every == 0 else [])) for each in range(number)]


def test_alerts_are_those_of_the_cooldown(engine: Engine, tmp_path: Path) -> None:
    """Findings within the cooldown are one alert, others open a new one; who and where is said of each."""
    refs = _many(engine, 40, every=20)
    (rule,) = loaded(tmp_path, event({"DestinationPort": 23})).rules

    one, two = (
        backtest(engine, rule, Wanted(), Policy(cooldown=timedelta(seconds=cooldown)), lambda _: None)
        for cooldown in (3600, 60)
    )

    assert (one.findings, two.findings) == (2, 2)
    (alert,) = one.tally.alerts
    assert (alert.host, alert.findings, alert.rows) == ("bastion-1", 2, 2)
    assert alert.group == {"login_user": "alice", "user": "alice", "executable": "/usr/bin/telnet"}
    assert (alert.start, alert.end) == (refs[0].start, refs[20].end)
    assert [each.opened_at for each in two.tally.alerts] == [refs[0].end, refs[20].end]


def test_the_period_is_that_which_is_asked_for(engine: Engine, tmp_path: Path) -> None:
    """Only snapshots that ended in it are looked at, but windows reach farther back; hosts are chosen by pattern."""
    refs = _many(engine, 30, every=1)
    rules = loaded(tmp_path, event({"DestinationPort": 23}), correlation(["User"], {"gte": 8}, timespan="2m"))
    wanted = Wanted(since=refs[4].end, until=refs[20].end)

    assert list(_found(engine, rules, wanted)) == [ref.seq for ref in refs[7:21]]
    assert _found(engine, rules, Wanted(host="web-*")) == {}


def test_it_is_told_how_far_it_looked(engine: Engine, tmp_path: Path) -> None:
    """From when to when, over how many snapshots, how far it is meanwhile, and what could not be read."""
    refs = _many(engine, 30, every=10)
    with writing(engine) as connection:
        here = packed_counts.c
        connection.execute(update(packed_counts).where(here.seq == refs[10].seq).values(content=b"damaged"))
    (rule,) = loaded(tmp_path, event({"DestinationPort": 23})).rules
    told: list[float] = []

    result = backtest(engine, rule, Wanted(), Policy(cooldown=timedelta(0)), told.append)

    looked = result.looked
    assert (looked.hosts, looked.snapshots, looked.damaged) == (1, 30, 1)
    assert (looked.start, looked.end) == (refs[0].start, refs[-1].end)
    assert result.findings == 2
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("condition", [{"gte": 20}, {"gte": 20, "field": "DestinationPort"}])
@pytest.mark.parametrize("rolled", [0, 2, 3])
def test_what_just_passes_is_found_across_the_ends_of_sums(
    engine: Engine, tmp_path: Path, condition: dict[str, Any], rolled: int
) -> None:
    """Half of the threshold at the end of a day, half at the beginning of the next, whatever of it is added up."""
    recorder = Recorder(engine, now=START.replace(hour=23, minute=59, second=40))
    halves = [[count("192.0.2.1", 20 * half + each) for each in range(10)] for half in range(2)]
    refs = [recorder.snapshot(*halves[0])]
    recorder.pass_time(seconds=20)
    refs += [recorder.snapshot(*halves[1]), recorder.snapshot()]
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], condition))
    _roll(engine, refs, rolled)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past, "_FEW_SNAPSHOTS", -1)
        (found_in,) = _found(engine, rules, Wanted())

    assert found_in == refs[1].seq


def test_a_rule_that_asks_nothing_of_keys_is_tested_too(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Its statements go by way of the keys all the same."""
    ref = Recorder(sqlite_engine).snapshot(count("10.0.0.1", 22, attempted=3))
    counting = correlation(["Host"], {"gt": 2}, timespan="10s", type="event_count")
    rules = loaded(tmp_path, event({"Attempted|gte": 0}), counting)
    assert len(_found(sqlite_engine, rules, Wanted())[ref.seq]) == 1
