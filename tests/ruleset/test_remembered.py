"""new_terms and baseline: what a host has had before, and what it usually does."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from detector.ruleset.baselines import FEWEST_HOURS
from detector.ruleset.load import load_rules
from detector.store import rollups
from detector.store.cursors import advance_cursor
from detector.store.engine import reading, writing
from detector.store.remembered import forget_unused
from detector.store.tables import noted_fields, seen_terms, usual_counts
from tests.builders import Recorder, count, read_counts
from tests.examples import examples
from tests.ruleset import naive
from tests.ruleset.strategies import ALIKE_ROWS, LONG
from tests.ruleset.writing import event, loaded, rule_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef
    from detector.ruleset.evaluate import RuleSet

_HOSTS = itertools.count()
_FAST = settings(
    max_examples=examples(60), derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_FEW = settings(_FAST, max_examples=12)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _detected(engine: Engine, rules: RuleSet, ref: SnapshotRef) -> list[Finding]:
    with writing(engine) as connection:
        found = rules.evaluate(connection, ref)
        advance_cursor(connection, ref)
    return found


def _new_terms(fields: list[str], window: str = "2d", **selection: Any) -> dict[str, Any]:
    section = {"group_by": ["User"], "new_terms": {"fields": fields, "window": window}}
    return {**event(selection or {"Initiated": True}), "x-detector": section}


def _baseline(**more: Any) -> dict[str, Any]:
    section = {"group_by": ["User"], "baseline": {"factor": 3, "minimum": 10, "window": "7d", **more}}
    return {**event({"Initiated": True}), "x-detector": section}


def test_what_was_never_there_is_new_once(engine: Engine, tmp_path: Path) -> None:
    """A combination is found in the first snapshot that has it, with its rows alone, and not in later ones."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _new_terms(["User", "DestinationIp"]))
    _detected(engine, rules, recorder.snapshot(count("10.0.0.1")))
    (finding,) = _detected(engine, rules, recorder.snapshot(count("10.0.0.1"), count("10.0.0.2")))
    assert [each.key_id for each in finding.evidence] == [2]
    assert not _detected(engine, rules, recorder.snapshot(count("10.0.0.2", port=80), count("10.0.0.1")))
    # The parts are known, and not together.
    assert _detected(engine, rules, recorder.snapshot(count("10.0.0.2", user="bob")))


def test_what_stayed_away_for_the_window_is_new_again(engine: Engine, tmp_path: Path) -> None:
    """The window reaches back to the beginning of a day: what was there since is known."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _new_terms(["User"]))
    assert _detected(engine, rules, recorder.snapshot(count()))
    for hours, new in ((20, False), (38, False), (48, False), (80, True)):
        recorder.pass_time(hours=hours)
        assert bool(_detected(engine, rules, recorder.snapshot(count()))) is new, hours


def test_everything_the_host_does_counts_as_seen(engine: Engine, tmp_path: Path) -> None:
    """What other programs did makes a combination known, too: a rule says by its fields what has to be new."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _new_terms(["DestinationIp"], Command="nc"))
    assert not _detected(engine, rules, recorder.snapshot(count()))
    assert not _detected(engine, rules, recorder.snapshot(count(command="nc")))
    by_program = loaded(tmp_path, _new_terms(["DestinationIp", "Command"], Command="nc"))
    assert not _detected(engine, by_program, recorder.snapshot(count(command="nc")))
    assert _detected(engine, by_program, recorder.snapshot(count("10.0.0.9", command="nc")))


def test_what_is_missing_is_never_new(engine: Engine, tmp_path: Path) -> None:
    """Without a login user there is no new combination with one."""
    rules = loaded(tmp_path, _new_terms(["LoginUser"]))
    assert not _detected(engine, rules, Recorder(engine).snapshot(count(login_user=None)))


def test_what_logins_and_names_had_can_be_new(engine: Engine, tmp_path: Path) -> None:
    """The address that a login came from, and the country of a destination, are remembered as well."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _new_terms(["User", "LoginIp"]))
    assert _detected(engine, rules, recorder.snapshot(count(login_address="203.0.113.7")))
    assert not _detected(engine, rules, recorder.snapshot(count(login_address="203.0.113.7")))
    assert _detected(engine, rules, recorder.snapshot(count(login_address="203.0.113.8")))
    rules = loaded(tmp_path, _new_terms(["DestinationCountry"]))
    assert not _detected(engine, rules, recorder.snapshot(count()))
    assert _detected(engine, rules, recorder.snapshot(count(remote_country="DE")))


def test_a_rule_knows_what_was_there_before_it(engine: Engine, tmp_path: Path) -> None:
    """A rule that comes into force learns from days, and from rows that are not part of these yet."""
    recorder = Recorder(engine)
    none = load_rules([]).ruleset
    _detected(engine, none, recorder.snapshot(count("10.0.0.1"), count("10.0.0.4", login_address="203.0.113.7")))
    recorder.pass_time(hours=5)
    last = recorder.snapshot(count("10.0.0.2"))
    _detected(engine, none, last)
    rollups.advance(engine, last.host_id, now=recorder.now)
    rules = loaded(tmp_path, _new_terms(["DestinationIp"]))
    ref = recorder.snapshot(*(count(f"10.0.0.{number}") for number in (1, 2, 3)))
    (finding,) = _detected(engine, rules, ref)
    assert [each.key_id for each in finding.evidence] == [4]
    by_login = loaded(tmp_path, _new_terms(["LoginIp"]))
    logins = (count(port=number, login_address=f"203.0.113.{number}") for number in (7, 8))
    assert len(_detected(engine, by_login, recorder.snapshot(*logins))[0].evidence) == 1


def test_what_happened_while_a_rule_was_out_of_force_is_made_up_for(engine: Engine, tmp_path: Path) -> None:
    """Snapshots that nobody noted are: a rule that is enabled again, or looks farther back, does not find them new."""
    recorder = Recorder(engine)
    none, rules = load_rules([]).ruleset, loaded(tmp_path, _new_terms(["DestinationIp"]))
    _detected(engine, none, recorder.snapshot(count("10.0.0.9")))
    recorder.pass_time(days=6)
    _detected(engine, rules, recorder.snapshot(count("10.0.0.1")))
    _detected(engine, none, recorder.snapshot(count("10.0.0.2")))
    assert not _detected(engine, rules, recorder.snapshot(count("10.0.0.2")))
    assert _detected(engine, rules, recorder.snapshot(count("10.0.0.9")))
    farther = loaded(tmp_path, _new_terms(["DestinationIp"], window="9d"))
    assert not _detected(engine, farther, recorder.snapshot(count("10.0.0.9")))


def test_what_is_remembered_is_forgotten_in_time(engine: Engine, tmp_path: Path) -> None:
    """Days and hours that no window reaches back to are deleted; the database does not grow with its age."""
    recorder = Recorder(engine)
    terms, baseline = _new_terms(["DestinationIp"]), _baseline(window="1d")
    rules = loaded(tmp_path, terms, {**baseline, "id": rule_id(2), "name": "rule_2"})
    for number in range(20):
        _detected(engine, rules, recorder.snapshot(count("10.0.0.1"), count(f"10.0.1.{number}")))
        recorder.pass_time(hours=24)
    with reading(engine) as connection:
        days, hours = (
            connection.execute(select(func.min(column), func.count())).one()
            for column in (seen_terms.c.day, usual_counts.c.hour)
        )
    assert (recorder.now - _EPOCH).days - days[0] == 5
    assert days[1] == 2 * 5
    assert hours[1] == 3


def test_what_no_rule_asks_for_any_more_is_deleted(engine: Engine, tmp_path: Path) -> None:
    """Days after the last rule with these fields; those of a rule in force stay, and one that comes back knows the
    days."""
    recorder = Recorder(engine)
    kept = _new_terms(["User"], window="30d")
    gone = {**_new_terms(["DestinationIp"], window="30d"), "id": rule_id(2), "name": "rule_2"}
    both = loaded(tmp_path, kept, gone)
    first = recorder.snapshot(count("10.0.0.1"))
    _detected(engine, both, first)
    (tmp_path / "one").mkdir()
    one = loaded(tmp_path / "one", kept)
    numbers = []
    for days in (1, 2):
        recorder.pass_time(days=days)
        ref = recorder.snapshot(count("10.0.0.1"))
        _detected(engine, one, ref)
        rollups.advance(engine, ref.host_id, now=recorder.now)
        while forget_unused(engine, ref.host_id, limit=1):
            pass
        with reading(engine) as connection:
            asked = (select(func.count(table.c.fields.distinct())) for table in (noted_fields, seen_terms))
            numbers.append([connection.scalar(each) for each in asked])

    assert numbers == [[2, 2], [1, 1]]
    assert not _detected(engine, both, recorder.snapshot(count("10.0.0.1")))
    assert _detected(engine, both, recorder.snapshot(count("10.0.0.2")))


def test_an_hour_is_unusual_once_it_is_many_times_the_usual(engine: Engine, tmp_path: Path) -> None:
    """The hour of a snapshot counts so far; it must reach the factor and the minimum."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _baseline())
    for _ in range(4):
        assert not _detected(engine, rules, recorder.snapshot(count(attempted=2), count(user="bob", attempted=9)))
        recorder.pass_time(hours=1)
    # Less than the minimum, though five times the usual, and the usual of the other one.
    assert not _detected(engine, rules, recorder.snapshot(count(attempted=9), count(user="bob", attempted=9)))
    (finding,) = _detected(engine, rules, recorder.snapshot(count(attempted=1), count(user="bob", attempted=9)))
    assert finding.group == {"user": "alice"}
    assert [each.seq for each in finding.evidence] == [6]
    (finding,) = _detected(engine, rules, recorder.snapshot(count(user="bob", attempted=9)))
    assert finding.group == {"user": "bob"}


def test_what_has_hardly_a_past_has_no_usual(engine: Engine, tmp_path: Path) -> None:
    """A group that was there in fewer hours than that is not unusual, whatever it does."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _baseline())
    for number in range(FEWEST_HOURS + 1):
        ref = recorder.snapshot(count(attempted=10 * 4**number))
        assert bool(_detected(engine, rules, ref)) is (number == FEWEST_HOURS)
        recorder.pass_time(hours=1)


def test_what_comes_once_a_night_is_usual_then(engine: Engine, tmp_path: Path) -> None:
    """Hours in which a group does nothing do not make the others unusual."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _baseline())
    for _ in range(6):
        assert not _detected(engine, rules, recorder.snapshot(count(attempted=1000)))
        recorder.pass_time(hours=24)


def test_a_field_can_be_compared_with_the_usual(engine: Engine, tmp_path: Path) -> None:
    """In place of connects, what a field of the matching rows adds up to."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _baseline(field="Refused"))
    for _ in range(4):
        assert not _detected(engine, rules, recorder.snapshot(count(attempted=900, refused=4)))
        recorder.pass_time(hours=1)
    assert _detected(engine, rules, recorder.snapshot(count(attempted=12, refused=12)))


def test_a_snapshot_counts_once(engine: Engine, tmp_path: Path) -> None:
    """What is looked at again, since the host fell silent after it, gives the same and is not added a second time."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _baseline())
    for _ in range(4):
        _detected(engine, rules, recorder.snapshot(count(attempted=4)))
        recorder.pass_time(hours=1)
    ref = recorder.snapshot(count(attempted=7))
    assert [_detected(engine, rules, ref) for _ in range(5)] == [[]] * 5
    ref = recorder.snapshot(count(attempted=5))
    assert [len(_detected(engine, rules, ref)) for _ in range(3)] == [1] * 3


def test_another_rule_has_another_usual(engine: Engine, tmp_path: Path) -> None:
    """What a rule counted before it was changed is not taken for usual: it learns anew."""
    recorder = Recorder(engine)
    rules = loaded(tmp_path, _baseline())
    for _ in range(4):
        _detected(engine, rules, recorder.snapshot(count(attempted=4)))
        recorder.pass_time(hours=1)
    changed = loaded(tmp_path, {**_baseline(), "detection": {"a": {"User": "alice"}, "condition": "a"}})
    ref = recorder.snapshot(count(attempted=99))
    assert not _detected(engine, changed, ref)
    assert _detected(engine, rules, ref)


class _Past:
    """Random snapshots over days, and what rules see of them."""

    def __init__(self, engine: Engine, history: Any) -> None:
        self._recorder = Recorder(engine, host=f"Host-{next(_HOSTS)}")
        self.refs: list[SnapshotRef] = []
        self.rows: list[naive.Row] = []
        for hours, counts in history:
            self._recorder.pass_time(hours=hours)
            ref = self._recorder.snapshot(*counts)
            with reading(engine) as connection:
                self.rows += [naive.row_of(ref, each, {}) for each in read_counts(connection, ref)]
            self.refs.append(ref)
        self.starts = {ref.seq: ref.start for ref in self.refs}


def _evidence(findings: Sequence[Finding]) -> set[tuple[int, ...]]:
    return {(each.seq, each.key_id, each.session) for finding in findings for each in finding.evidence}


def _check_new(engine: Engine, folder: Path, history: Any, fields: list[str], days: int, lost: int) -> None:
    past = _Past(engine, history)
    loaded(folder, _new_terms(fields, window=f"{days}d", **{"Attempted|gte": 0}))
    rules = load_rules([folder]).ruleset
    window = timedelta(days=days)
    for number, ref in enumerate(past.refs):
        if number == lost:
            # As for a rule that comes into force, in a process that begins.
            with writing(engine) as connection:
                for table in (seen_terms, noted_fields):
                    connection.execute(delete(table).where(table.c.host_id == ref.host_id))
            rollups.advance(engine, ref.host_id, now=ref.start)
            rules = load_rules([folder]).ruleset
        for _ in range(2):
            expected = naive.rows_new(fields, window, past.rows, past.starts, ref.seq)
            assert _evidence(_detected(engine, rules, ref)) == expected
    for ref in reversed(past.refs[lost:]):
        if past.refs[-1].start - ref.start < timedelta(days=2):
            expected = naive.rows_new(fields, window, past.rows, past.starts, ref.seq)
            with writing(engine) as connection:
                assert _evidence(rules.evaluate(connection, ref)) == expected


_FIELDS = st.lists(
    st.sampled_from(("User", "Image", "DestinationIp", "DestinationPort", "LoginIp", "DestinationHostname")),
    min_size=1,
    max_size=2,
    unique=True,
)


@_FAST
@given(history=LONG, fields=_FIELDS, days=st.integers(1, 4), lost=st.integers(0, 12))
def test_new_terms_are_those_of_the_naive_evaluator(
    sqlite_engine: Engine, tmp_path: Path, history: Any, fields: list[str], days: int, lost: int
) -> None:
    """In order, again, later, and when what was remembered is made anew: the same rows are new on SQLite."""
    _check_new(sqlite_engine, tmp_path, history, fields, days, lost)


@pytest.mark.postgres
@_FEW
@given(history=LONG, fields=_FIELDS, days=st.integers(1, 4), lost=st.integers(0, 12))
def test_new_terms_are_the_same_on_postgres(
    postgres_engine: Engine, tmp_path: Path, history: Any, fields: list[str], days: int, lost: int
) -> None:
    """In order, again, later, and when what was remembered is made anew: the same rows are new on Postgres."""
    _check_new(postgres_engine, tmp_path, history, fields, days, lost)


_USUALLY = st.builds(
    naive.Usually,
    group_by=st.lists(st.sampled_from(("User", "Protocol", "DestinationIp")), min_size=1, max_size=2, unique=True),
    field=st.sampled_from(("Attempted", "Refused")),
    factor=st.sampled_from((1.5, 2, 3)),
    minimum=st.integers(1, 4),
    window=st.sampled_from((1, 3)).map(lambda days: timedelta(days=days)),
)
_OFTEN = st.lists(
    st.tuples(st.sampled_from((0, 0, 0.3, 0.7, 1, 1, 1, 20)), ALIKE_ROWS),
    min_size=5,
    max_size=14,
)


def _check_usual(engine: Engine, folder: Path, history: Any, usually: naive.Usually) -> None:
    past = _Past(engine, history)
    baseline = {
        "factor": usually.factor,
        "minimum": usually.minimum,
        "window": f"{usually.window.days}d",
        "field": usually.field,
    }
    rule = event({"Attempted|gte": 0})
    rule["x-detector"] = {"group_by": list(usually.group_by), "baseline": baseline}
    loaded(folder, rule)
    for ref in past.refs:
        # Each time as a process that begins, and once more.
        rules = load_rules([folder]).ruleset
        expected = naive.groups_unusual(usually, past.rows, past.starts, ref.seq)
        for _ in range(2):
            assert len(_detected(engine, rules, ref)) == len(expected)


@_FAST
@given(history=_OFTEN, usually=_USUALLY)
def test_baselines_are_those_of_the_naive_evaluator(
    sqlite_engine: Engine, tmp_path: Path, history: Any, usually: naive.Usually
) -> None:
    """Hours, windows, factors and minimums give on SQLite the groups that the naive evaluator gives."""
    _check_usual(sqlite_engine, tmp_path, history, usually)


@pytest.mark.postgres
@_FEW
@given(history=_OFTEN, usually=_USUALLY)
def test_baselines_are_the_same_on_postgres(
    postgres_engine: Engine, tmp_path: Path, history: Any, usually: naive.Usually
) -> None:
    """Hours, windows, factors and minimums give on Postgres the groups that the naive evaluator gives."""
    _check_usual(postgres_engine, tmp_path, history, usually)
