"""A back-test of a rule that remembers goes by what the service would have remembered, and by how long it watched."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.alerts.tally import Tally
from detector.models import state
from detector.ruleset.load import load_rules
from detector.service import replaying
from detector.service.backtesting import Policy, backtest, found
from detector.service.replaying import Wanted
from detector.store import rollups
from detector.store.cursors import advance_cursor, create_cursors
from detector.store.engine import writing
from tests.builders import START, Recorder, count, observe
from tests.examples import examples
from tests.ruleset.strategies import ALIKE, ALIKE_ROWS, LONG, detections
from tests.ruleset.writing import event, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.domain import Finding, SnapshotRef

_HOSTS = itertools.count()
_FAST = settings(
    max_examples=examples(40),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_FEW = settings(_FAST, max_examples=10)
_HOUR = timedelta(hours=1)

_NEW = st.builds(
    lambda fields, days: {"new_terms": {"fields": fields, "window": f"{days}d"}},
    st.lists(st.sampled_from(("User", "Image", "DestinationIp", "LoginIp")), min_size=1, max_size=2, unique=True),
    st.integers(1, 3),
)
_USUAL = st.builds(
    lambda factor, minimum, days: {"baseline": {"factor": factor, "minimum": minimum, "window": f"{days}d"}},
    st.sampled_from((1.5, 2)),
    st.integers(1, 4),
    st.sampled_from((1, 3)),
)
_OFTEN = st.lists(st.tuples(st.sampled_from((0, 0, 0.3, 0.7, 1, 1, 20, -1, -3)), ALIKE_ROWS), min_size=5, max_size=14)


class _Lived:
    """A history in which a rule was in force from the beginning, with what it found in each snapshot."""

    def __init__(self, engine: Engine, folder: Path, rule: dict[str, Any], history: Any, rolled: int) -> None:
        loaded(folder, rule)
        self.folder, rules = folder, load_rules([folder]).ruleset
        recorder = Recorder(engine, host=f"Host-{next(_HOSTS)}")
        self.host, self.refs = recorder.host, list[Any]()
        self.found: dict[int, list[Finding]] = {}
        for number, (hours, counts) in enumerate(history):
            recorder.pass_time(hours=hours)
            ref = recorder.snapshot(*counts)
            with writing(engine) as connection:
                self.found[ref.seq] = rules.evaluate(connection, ref)
                create_cursors(connection)
                if number < rolled:
                    advance_cursor(connection, ref)
            self.refs.append(ref)
        while rolled and rollups.advance(engine, self.refs[0].host_id, now=START + timedelta(days=365)).more:
            pass

    def tested(self, engine: Engine, rows_at_once: int, **wanted: Any) -> dict[int, list[Finding]]:
        """What a back-test finds."""
        (rule,) = load_rules([self.folder]).ruleset.rules
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replaying, "NUMBERS_AT_ONCE", rows_at_once)
            return {ref.seq: findings for ref, findings in found(engine, rule, Wanted(host=self.host, **wanted))}

    def live(self, since: int) -> dict[int, list[Finding]]:
        """What was found after a snapshot."""
        after = self.refs[since].end
        return {ref.seq: some for ref in self.refs if ref.end > after and (some := self.found[ref.seq])}


def _check(engine: Engine, folder: Path, remembering: Any, history: Any, *, rolled: int, since: int, rows: int) -> None:
    lived = _Lived(engine, folder, {**event({"Attempted|gte": 1}), "x-detector": remembering}, history, rolled)
    everything = {seq: findings for seq, findings in lived.found.items() if findings}
    assert lived.tested(engine, rows) == everything
    since = min(since, len(lived.refs) - 1)
    assert lived.tested(engine, rows, since=lived.refs[since].end) == lived.live(since)


_ROLLED = st.sampled_from((0, 3, 6, 20))
_SINCE = st.integers(0, 12)
_ROWS = st.sampled_from((1, 3, 50_000))


@_FAST
@given(remembering=_NEW, history=LONG, rolled=_ROLLED, since=_SINCE, rows=_ROWS)
def test_what_is_new_is_what_was_new(
    sqlite_engine: Engine, tmp_path: Path, remembering: Any, history: Any, rolled: int, since: int, rows: int
) -> None:
    """Whether the past is added up or not, and from whenever on it is tested, new_terms find what they found live."""
    _check(sqlite_engine, tmp_path, remembering, history, rolled=rolled, since=since, rows=rows)


@_FAST
@given(remembering=_USUAL, history=_OFTEN, rolled=_ROLLED, since=_SINCE, rows=_ROWS)
def test_what_is_unusual_is_what_was_unusual(
    sqlite_engine: Engine, tmp_path: Path, remembering: Any, history: Any, rolled: int, since: int, rows: int
) -> None:
    """So do baselines, clocks that were set back included."""
    _check(sqlite_engine, tmp_path, remembering, history, rolled=rolled, since=since, rows=rows)


@pytest.mark.postgres
@_FEW
@given(remembering=_NEW | _USUAL, history=LONG, rolled=_ROLLED, since=_SINCE, rows=_ROWS)
def test_postgres_remembers_the_same(
    postgres_engine: Engine, tmp_path: Path, remembering: Any, history: Any, rolled: int, since: int, rows: int
) -> None:
    """Both find on Postgres what they found there."""
    _check(postgres_engine, tmp_path, remembering, history, rolled=rolled, since=since, rows=rows)


@_FEW
@given(detection=detections(), history=ALIKE, cooldown=st.sampled_from((0, 10, 25, 3600)), rows=_ROWS)
def test_alerts_of_many_findings_are_those_of_each(
    sqlite_engine: Engine, tmp_path: Path, detection: Any, history: Any, cooldown: int, rows: int
) -> None:
    """Counted together, findings make the alerts that they make one by one, clocks that were set back included."""
    selections, _ = detection
    rule = event(next(iter(selections.values())))
    (tmp_path / "lists").mkdir(exist_ok=True)
    for name in ("nets", "all", "odd", "words", "empty-handed"):
        (tmp_path / "lists" / f"{name}.txt").write_text("10.0.0.1\n" if name in ("nets", "all") else "1\n")
    (tmp_path / "rule.yml").write_text(_yaml(rule))
    rules = load_rules([tmp_path]).ruleset.rules
    recorder = Recorder(sqlite_engine, host=f"Host-{next(_HOSTS)}")
    for pause, drawn in history:
        recorder.pass_time(seconds=pause)
        ref = recorder.snapshot(*(counted for counted, _ in drawn))
        observe(sqlite_engine, ref, {})
    for one in rules:
        each = Tally(timedelta(seconds=cooldown))
        for snapshot, findings in found(sqlite_engine, one, Wanted(host=recorder.host)):
            each.add(snapshot, findings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replaying, "NUMBERS_AT_ONCE", rows)
            policy = Policy(cooldown=timedelta(seconds=cooldown))
            result = backtest(sqlite_engine, one, Wanted(host=recorder.host), policy, lambda _: None)
        assert result.tally.alerts == each.alerts
        assert result.findings == sum(alert.findings for alert in each.alerts)


def _yaml(document: Any) -> str:
    import yaml

    return yaml.safe_dump(document, allow_unicode=True)


def test_it_is_said_from_when_on_something_is_remembered(engine: Engine, tmp_path: Path) -> None:
    """Where the window reaches back farther than what is stored, it is told how far that is."""
    recorder = Recorder(engine)
    first = recorder.snapshot(count("10.0.0.1"))
    recorder.pass_time(days=5)
    last = recorder.snapshot(count("10.0.0.1"), count("10.0.0.2"))
    new = {"new_terms": {"fields": ["DestinationIp"], "window": "7d"}}
    usual = {"baseline": {"factor": 2, "minimum": 1, "window": "3d"}}
    policy = Policy(cooldown=_HOUR)
    wanted = Wanted(since=last.end - _HOUR)
    remembered = []
    for section in (new, usual):
        (rule,) = loaded(tmp_path, {**event({"Initiated": True}), "x-detector": section}).rules
        remembered.append(backtest(engine, rule, wanted, policy, lambda _: None).looked.remembered_since)
    assert remembered == [first.end, None]


@pytest.mark.parametrize(("observed", "told"), [(0, 2), (90, 3), (100, 4), (2000, 5)])
def test_nobody_is_told_while_a_burn_in_lasts(engine: Engine, tmp_path: Path, observed: int, told: int) -> None:
    """Of five snapshots of ten seconds, by how long the host was watched when detection had seen the fourth; what
    would be held back is counted."""
    recorder = Recorder(engine)
    refs = [recorder.snapshot(count(port=23)) for _ in range(5)]
    _watched(engine, refs[3], observed)
    (rule,) = loaded(tmp_path, event({"DestinationPort": 23})).rules
    burn_in = timedelta(seconds=40 if not observed else 80)

    result = backtest(engine, rule, Wanted(), Policy(cooldown=timedelta(0), burn_in=burn_in), lambda _: None)

    assert (result.findings, len(result.tally.alerts), result.held) == (5, told, 5 - told)


def _watched(engine: Engine, ref: SnapshotRef, seconds: int) -> None:
    with writing(engine) as connection:
        create_cursors(connection)
        if seconds:
            advance_cursor(connection, ref)
            state.save_host(connection, ref.host_id, state.HostState(observed_seconds=float(seconds)))
