"""Of a longer time only the rows stay that correlations match, and windows find the same as if all had stayed."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from detector.ruleset import needs
from detector.ruleset.load import load_rules
from detector.store import expiry, recent
from detector.store.cursors import advance_cursor, create_cursors
from detector.store.engine import reading, writing
from detector.store.packed import read_one, read_packed
from detector.store.tables import connection_counts, detection_cursors, kept_windows, observations
from tests.builders import AllRows, Recorder, count, observe
from tests.ruleset.writing import correlation, event, loaded, write_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import RuleSet

_SSH = event({"DestinationPort": 22})
_NEW = event({"Novelty|exists": True}, number=4)
_LISTED = event({"DestinationIp|expand": "%bad%"}, number=6)
_FEW_SSH = correlation(["User"], {"gte": 3}, timespan="2m")
_MANY_PORTS = correlation(["User"], {"gte": 4, "field": "DestinationPort"}, number=3, timespan="1m")
_NEW_HOSTS = correlation(["User"], {"gte": 2, "field": "DestinationIp"}, number=5, timespan="90s", rules=["rule_4"])
_BAD_HOSTS = correlation(["User"], {"gte": 2}, number=7, timespan="2m", rules=["rule_6"])
_EVERYTHING = (_SSH, _NEW, _LISTED, _FEW_SSH, _MANY_PORTS, _NEW_HOSTS, _BAD_HOSTS)


@pytest.fixture(autouse=True)
def _short_hour() -> Iterator[None]:
    """As far back as 30 s all rows are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(needs, "MOST_WHOLE", timedelta(seconds=30))
        yield


def _rules(folder: Path, *documents: dict[str, Any]) -> RuleSet:
    write_list(folder, "bad", "10.0.0.7")
    return loaded(folder, *documents)


def _detected(engine: Engine, rules: RuleSet, ref: SnapshotRef) -> list[Finding]:
    """As the pipeline does it; what detection says of the rows comes afterwards."""
    with writing(engine) as connection:
        create_cursors(connection)
        rules.prepare(connection)
        recent.advance(connection, ref, read_one(connection, ref), rules.needs)
    observe(engine, ref, {key_id: {"novelty": "port" if key_id % 2 else None, "score": 0.5} for key_id in range(40)})
    with writing(engine) as connection:
        found = rules.evaluate(connection, ref)
        advance_cursor(connection, ref)
    return found


def _there(engine: Engine) -> list[tuple[int, int]]:
    """Snapshots and keys of the rows that are there; those of observations are the same."""
    with reading(engine) as connection:
        found = [
            [(seq, key_id) for seq, key_id in connection.execute(select(table.c.seq, table.c.key_id))]
            for table in (connection_counts, observations)
        ]
    assert sorted(found[0]) == sorted(found[1])
    return sorted(found[0])


def test_only_what_a_correlation_matches_stays(engine: Engine, tmp_path: Path) -> None:
    """Of the last seconds all rows are there, before them those that are counted, and beyond the window none."""
    rules = _rules(tmp_path, _SSH, _FEW_SSH)
    recorder = Recorder(engine, unpacked=False)
    for number in range(20):
        counts = [count(port=80, attempted=1)] if number % 5 else [count(port=80), count(port=22)]
        _detected(engine, rules, recorder.snapshot(*counts))
    # Key 2 is that of port 22, in the snapshots 1, 6, 11, 16; the window has 12 snapshots, and one more is asked for.
    assert _there(engine) == [(11, 2), (16, 2), (17, 1), (18, 1), (19, 1), (20, 1)]


def test_a_rule_that_comes_into_force_knows_the_day(engine: Engine, tmp_path: Path) -> None:
    """What was not kept is made again of what is packed, with what detection said of it, and nothing else is."""
    recorder = Recorder(engine, unpacked=False)
    none = _rules(tmp_path, _SSH)
    for number in range(8):
        host = count(f"10.0.0.{number}", 22 if number % 2 else 80)
        _detected(engine, none, recorder.snapshot(host, count("10.0.0.99", 443)))
    assert {seq for seq, _ in _there(engine)} == {8}

    ref = recorder.snapshot(count("10.0.0.9", 22))
    findings = _detected(engine, _rules(tmp_path, *_EVERYTHING), ref)

    assert [len(each.evidence) for each in findings] == [5]
    assert [seq for seq, _ in _there(engine)] == [1, 2, 4, 6, 6, 7, 7, 8, 8, 9]


def test_a_rule_that_is_gone_leaves_no_rows(engine: Engine, tmp_path: Path) -> None:
    """They go with the next snapshot; those that other rules match stay."""
    recorder = Recorder(engine, unpacked=False)
    both = _rules(tmp_path, _SSH, _NEW, _FEW_SSH, _NEW_HOSTS)
    for _ in range(8):
        _detected(engine, both, recorder.snapshot(count(port=80), count(port=22)))
    assert len(_there(engine)) == 2 * 8

    _detected(engine, _rules(tmp_path, _SSH, _FEW_SSH), recorder.snapshot(count(port=80)))
    assert [seq for seq, key_id in _there(engine) if key_id == 1] == [6, 7, 8, 9]
    _detected(engine, _rules(tmp_path, _SSH), recorder.snapshot(count(port=80)))
    assert _there(engine) == [(10, 1)]


def test_rows_that_a_crash_of_postgres_took_are_made_again(engine: Engine, tmp_path: Path) -> None:
    """It does not log them: the next snapshot finds what it would have found."""
    rules = _rules(tmp_path, *_EVERYTHING)
    recorder = Recorder(engine, unpacked=False)
    for _ in range(10):
        before = _detected(engine, rules, recorder.snapshot(count(port=22), count(port=80)))
    there = _there(engine)
    with writing(engine) as connection:
        for table in (connection_counts, observations, kept_windows):
            connection.execute(delete(table))
    findings = _detected(engine, rules, recorder.snapshot(count(port=22), count(port=80)))
    assert [len(each.evidence) for each in findings] == [len(each.evidence) + 1 for each in before]
    # Two have come, and the one of them that is not counted has gone of the snapshot that is too old now.
    assert len(_there(engine)) == len(there) + 1


def test_what_expires_leaves_long_windows(engine: Engine, tmp_path: Path) -> None:
    """Snapshots that are deleted take their rows along, and are not counted any more by whoever remembers them."""
    rules = _rules(tmp_path, _SSH, _FEW_SSH)
    recorder = Recorder(engine, unpacked=False)
    for _ in range(8):
        _detected(engine, rules, recorder.snapshot(count(port=22)))
    with writing(engine) as connection:
        (state,) = expiry.host_states(connection)
    assert (state.kept, state.recent) == (1, 5)
    expiry.expire(engine, state, before=None, upto=2, limit=10)
    assert [seq for seq, _ in _there(engine)] == [3, 4, 5, 6, 7, 8]
    (finding,) = _detected(engine, rules, recorder.snapshot(count(port=22)))
    assert [each.seq for each in finding.evidence] == [3, 4, 5, 6, 7, 8, 9]


def test_a_silent_host_keeps_what_windows_count(engine: Engine, tmp_path: Path) -> None:
    """Only rows that no window reaches are deleted of a host of which nothing comes."""
    rules = _rules(tmp_path, _SSH, _FEW_SSH)
    recorder = Recorder(engine, unpacked=False)
    for _ in range(8):
        _detected(engine, rules, recorder.snapshot(count(port=22)))
    assert expiry.forget_rows(engine, 1, limit=100) == 0
    with writing(engine) as connection:
        connection.execute(detection_cursors.update().values(recent_seq=8))
        connection.execute(kept_windows.update().values(first_seq=6))
    assert expiry.forget_rows(engine, 1, limit=100) == 2 * 5


_STEP = st.tuples(
    st.sampled_from(("next", "next", "next", "pause", "back", "other worker", "reload", "expire", "crash")),
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from((22, 80, 443)), st.sampled_from(("alice", "bob"))),
        max_size=3,
        unique=True,
    ),
)
_RULES = ((_SSH, _FEW_SSH, _MANY_PORTS), (_NEW, _NEW_HOSTS), (_SSH, _NEW, _FEW_SSH, _NEW_HOSTS), _EVERYTHING, (_SSH,))


_QUICK = settings(
    max_examples=8, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_HISTORIES = st.lists(st.tuples(_STEP, st.integers(0, len(_RULES) - 1)), min_size=8, max_size=20)


@_QUICK
@given(history=_HISTORIES)
def test_windows_are_those_of_all_rows(sqlite_engine: Engine, tmp_path: Path, history: list[Any]) -> None:
    """Whatever happens (rules read anew, another worker, a clock set back, a pause, expiry, a crash), the findings are
    those of a rule set that sees all rows that are stored."""
    _check(sqlite_engine, tmp_path, history)


@pytest.mark.postgres
@settings(_QUICK, max_examples=3)
@given(history=_HISTORIES)
def test_windows_are_those_of_all_rows_on_postgres(postgres_engine: Engine, tmp_path: Path, history: list[Any]) -> None:
    """The same on Postgres."""
    _check(postgres_engine, tmp_path, history)


_LOADED: dict[int, tuple[RuleSet, RuleSet, RuleSet]] = {}
_HOSTS = itertools.count()


def _several(folder: Path, number: int) -> tuple[RuleSet, RuleSet, RuleSet]:
    """The same rules for two workers, and for who sees all rows; nothing is remembered."""
    if number not in _LOADED:
        one = _rules(folder, *_RULES[number])
        _LOADED[number] = (one, load_rules([folder]).ruleset, load_rules([folder]).ruleset)
    for each in _LOADED[number]:
        each.forget()
    return _LOADED[number]


def _check(engine: Engine, folder: Path, history: list[Any]) -> None:
    recorder = Recorder(engine, host=f"host-{next(_HOSTS)}", unpacked=False)
    current = history[0][1]
    rules, spare, all_seeing = _several(folder, current)
    for (what, counts), number in history:
        if what == "pause":
            recorder.pass_time(seconds=70)
        elif what == "back":
            recorder.pass_time(seconds=-45)
        elif what == "other worker":
            rules, spare = spare, rules
        elif what == "reload" and number != current:
            before, current = rules, number
            rules, spare, all_seeing = _several(folder, number)
            rules.take_over(before)
        elif what == "crash":
            with writing(engine) as connection:
                for table in (connection_counts, observations, kept_windows):
                    connection.execute(delete(table))
        ref = recorder.snapshot(*(count(f"10.0.0.{last}", port, user=user) for last, port, user in counts))
        if what == "expire":
            with reading(engine) as connection:
                state = {each.host_id: each for each in expiry.host_states(connection)}[ref.host_id]
            expiry.expire(engine, state, before=None, upto=state.seen - 2, limit=2)
        found = _detected(engine, rules, ref)
        assert found == _of_all_rows(engine, all_seeing, ref)


def _of_all_rows(engine: Engine, rules: RuleSet, ref: SnapshotRef) -> list[Finding]:
    """What rules find that remember nothing and see every row that is stored; nothing stays of that."""
    rules.forget()
    with engine.connect() as connection:
        for table in (connection_counts, observations, kept_windows):
            connection.execute(delete(table).where(table.c.host_id == ref.host_id))
        # With what was said of it meanwhile.
        packed = next(read_packed(connection, ref.host_id, (ref.seq, ref.seq)), None)
        recent.advance(connection, ref, packed, AllRows(timedelta(days=365)))
        found = rules.evaluate(connection, ref)
        connection.rollback()
    return found
