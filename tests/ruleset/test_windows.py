"""Windows advance with the snapshots: read once, then by what enters and what leaves."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event as sql_event

from detector.ruleset.load import load_rules
from detector.ruleset.tallies import OrderedStages, Stages, Sums, Values
from detector.store import recent
from detector.store.cursors import create_cursors
from detector.store.engine import writing
from detector.store.packed import read_one
from tests.builders import Recorder, count
from tests.ruleset.writing import correlation, event, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import RuleSet


def _documents() -> list[dict[str, Any]]:
    """Both kinds of windows: what leaves the one has to be taken out, the other knows by itself."""
    return [
        event({"Initiated": True}),
        correlation(["User"], {"gte": 6}, number=2, timespan="1m"),
        correlation(["User"], {"gte": 3, "field": "DestinationPort"}, number=3, timespan="40s"),
        correlation(["Image"], {"gte": 4, "field": "Attempted"}, number=4, timespan="50s", type="value_sum"),
    ]


def _detected(engine: Engine, rules: RuleSet, ref: SnapshotRef) -> list[Finding]:
    """As the pipeline does it: no more rows are kept than the rules look at."""
    with writing(engine) as connection:
        create_cursors(connection)
        recent.advance(connection, ref, read_one(connection, ref), rules.needs)
        return rules.evaluate(connection, ref)


def _port(number: int) -> int:
    return number * number % 5


def test_a_window_is_read_once(engine: Engine, tmp_path: Path) -> None:
    """After the first snapshot that a process sees no statement adds a window up, however many snapshots come."""
    rules = loaded(tmp_path, *_documents())
    recorder = Recorder(engine, unpacked=False)
    _detected(engine, load_rules([tmp_path]).ruleset, recorder.snapshot(count(port=_port(0))))
    asked: list[str] = []
    sql_event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_r: asked.append(statement))
    for number in range(20):
        _detected(engine, rules, recorder.snapshot(count(port=_port(number))))
    assert sum("GROUP BY" in statement for statement in asked) == 3


def test_what_begins_to_count_is_not_looked_for_where_all_was_seen(engine: Engine, tmp_path: Path) -> None:
    """The first that somebody does is no reason to read what others have filled a window with."""
    by_user = correlation(["User"], {"gte": 3}, timespan="2m")
    rules = loaded(tmp_path, event({"User": "dave"}), by_user)
    recorder = Recorder(engine, unpacked=False)
    asked: list[str] = []
    sql_event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_r: asked.append(statement))
    found = []
    for number in range(12):
        others = [count(port=port) for port in range(5)]
        mine = [count(user="dave", port=number)] if number in {5, 8, 9} else []
        found.append(len(_detected(engine, rules, recorder.snapshot(*others, *mine))))
    assert found == [0] * 9 + [1, 0, 0]
    assert not any("GROUP BY" in statement for statement in asked)


@pytest.mark.parametrize("seed", range(4))
def test_what_begins_to_count_is_found_whoever_has_looked(sqlite_engine: Engine, tmp_path: Path, seed: int) -> None:
    """Two workers that take turns, one of which reads its rules anew, find what one finds that begins with each."""
    documents = event({"User": "dave"}), correlation(["User"], {"gte": 3}, timespan="2m")
    loaded(tmp_path, *documents)
    workers = [load_rules([tmp_path]).ruleset for _ in range(2)]
    recorder, chance, found = Recorder(sqlite_engine, unpacked=False), Random(seed), 0
    for number in range(60):
        if chance.random() < 0.05:
            recorder.pass_time(seconds=10 * chance.randint(-15, 15))
        worker = chance.randrange(2) if chance.random() < 0.3 else number // 10 % 2
        if chance.random() < 0.1:
            anew = load_rules([tmp_path]).ruleset
            anew.take_over(workers[0])
            workers[0] = anew
        mine = [count(user="dave", port=number)] if chance.random() < 0.2 else []
        ref = recorder.snapshot(count(), *mine)
        findings = _detected(sqlite_engine, workers[worker], ref)
        with writing(sqlite_engine) as connection:
            assert load_rules([tmp_path]).ruleset.evaluate(connection, ref) == findings
        found += len(findings)
    assert found


def test_the_rows_behind_a_group_are_read_once(engine: Engine, tmp_path: Path) -> None:
    """While a group goes on to pass, the rows that it had are remembered, and those that leave are left out."""
    rules = loaded(tmp_path, event({"Initiated": True}), correlation(["User"], {"gte": 3}, timespan="1m"))
    recorder = Recorder(engine, unpacked=False)
    asked: list[str] = []
    sql_event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_r: asked.append(statement))
    for number in range(1, 20):
        findings = _detected(engine, rules, recorder.snapshot(count(port=number)))
        named = [each.seq for finding in findings for each in finding.evidence]
        assert named == ([] if number < 3 else list(range(max(1, number - 5), number + 1)))
    assert sum("connection_counts.seq DESC" in statement for statement in asked) == 1


def test_rules_that_are_read_anew_go_on_where_the_old_ones_were(engine: Engine, tmp_path: Path) -> None:
    """Of correlations that did not change no window is read again; of others it is."""
    rules = loaded(tmp_path, *_documents())
    recorder = Recorder(engine, unpacked=False)
    for number in range(8):
        _detected(engine, rules, recorder.snapshot(count(port=_port(number))))
    asked: list[str] = []
    sql_event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_r: asked.append(statement))
    first, _, *others = _documents()
    changed = correlation(["User"], {"gte": 4}, number=2, timespan="1m")
    after = loaded(tmp_path, *others, changed, first)
    after.take_over(rules)
    for number in range(8, 20):
        ref = recorder.snapshot(count(port=_port(number)))
        findings = _detected(engine, after, ref)
        assert findings
        assert sum("GROUP BY" in statement for statement in asked) == 1
    with writing(engine) as connection:
        assert load_rules([tmp_path]).ruleset.evaluate(connection, ref) == findings


def test_what_is_remembered_is_what_is_stored(engine: Engine, tmp_path: Path) -> None:
    """A rule set that has seen all snapshots finds the same as one that begins with each, through a pause as well."""
    loaded(tmp_path, *_documents())
    old = load_rules([tmp_path]).ruleset
    recorder = Recorder(engine, unpacked=False)
    found = 0
    for number in range(40):
        if number == 25:
            recorder.pass_time(seconds=30)
        ref = recorder.snapshot(count(port=_port(number), attempted=number % 3), count(port=1, user="bob"))
        findings = _detected(engine, old, ref)
        with writing(engine) as connection:
            assert load_rules([tmp_path]).ruleset.evaluate(connection, ref) == findings
        found += len(findings)
    assert 40 < found < 40 * 4


def test_after_a_clock_was_ahead_for_a_while_a_window_is_read_once_more(engine: Engine, tmp_path: Path) -> None:
    """What was stored meanwhile is not in it, and has not to be left out anew with each snapshot."""
    rules = loaded(tmp_path, *_documents())
    recorder = Recorder(engine, unpacked=False)
    asked: list[str] = []
    sql_event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_r: asked.append(statement))
    for number in range(14):
        if number == 4:
            recorder.pass_time(hours=1)
        if number == 7:
            recorder.pass_time(hours=-1, seconds=-30)
        ref = recorder.snapshot(count(port=_port(number)))
        findings = _detected(engine, rules, ref)
        read = sum("GROUP BY" in statement for statement in asked)
        with writing(engine) as connection:
            assert load_rules([tmp_path]).ruleset.evaluate(connection, ref) == findings
        del asked[:]
        assert read == (3 if number == 7 else 0)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_remembered_is_what_is_stored_whatever_the_clock_does(
    sqlite_engine: Engine, tmp_path: Path, seed: int
) -> None:
    """Set back and forward again and again, by as much as windows are long and by more."""
    loaded(tmp_path, *_documents())
    old = load_rules([tmp_path]).ruleset
    recorder, chance = Recorder(sqlite_engine, unpacked=False), Random(seed)
    for number in range(40):
        if chance.random() < 0.2:
            recorder.pass_time(seconds=10 * chance.randint(-9, 9))
        ref = recorder.snapshot(count(port=chance.randrange(5), attempted=number % 3), count(port=1, user="bob"))
        findings = _detected(sqlite_engine, old, ref)
        with writing(sqlite_engine) as connection:
            assert load_rules([tmp_path]).ruleset.evaluate(connection, ref) == findings


def test_what_another_worker_has_looked_at_is_caught_up_with(engine: Engine, tmp_path: Path) -> None:
    """A worker that comes back to a host after some snapshots, or after a whole window, finds the same as the other."""
    loaded(tmp_path, *_documents())
    one, other = (load_rules([tmp_path]).ruleset for _ in range(2))
    recorder = Recorder(engine, unpacked=False)
    for number in range(40):
        ref = recorder.snapshot(count(port=_port(number)), count(port=1, user="bob"))
        findings = _detected(engine, one, ref)
        if number % 7 in (0, 1) or 20 < number < 30:
            with writing(engine) as connection:
                assert other.evaluate(connection, ref) == findings


def test_what_is_remembered_does_not_grow() -> None:
    """Of groups and values that do not come again nothing stays."""
    tallies = (
        Sums(range(9)),
        Values(range(9)),
        Stages(2, all),
        OrderedStages(2),
    )
    for seq in range(1, 20_000):
        for tally in tallies:
            tally.passing(seq - 10, seq, [(seq, 1)])
            tally.add(seq, [(seq, 1 if tally is not tallies[1] else seq)])
            if tally.leaves and seq > 10:
                tally.remove([(seq - 10, 1)])
    assert max(tally.size for tally in tallies) < 50_000


def test_a_pause_of_hours_empties_a_window(engine: Engine, tmp_path: Path) -> None:
    """What was before it has left when the host comes back."""
    rules = loaded(tmp_path, *_documents())
    recorder = Recorder(engine, unpacked=False)
    for _ in range(8):
        last = _detected(engine, rules, recorder.snapshot(count()))
    assert last
    recorder.pass_time(hours=3)
    assert _detected(engine, rules, recorder.snapshot(count())) == []
    assert timedelta(seconds=60) == rules.looks_back
