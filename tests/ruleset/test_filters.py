"""Filters: what rules pass over for good, in every folder, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from detector.ruleset.catalogue import State
from detector.ruleset.load import load_rules
from tests.builders import Recorder, count
from tests.ruleset.writing import CAPTURE, SOURCE, correlation, evaluated, event, rule_id

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from detector.ruleset.load import LoadedRules

_NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def exclusion(rules: list[str] | str, selection: Any, *, number: int = 9, **keys: Any) -> dict[str, Any]:
    """A filter with one selection, of which nothing may hold."""
    return {
        "title": f"filter {number}",
        "id": rule_id(number),
        "author": "alice",
        "description": "it runs every night",
        "logsource": SOURCE,
        "filter": {"rules": rules, "selection": selection, "condition": "not selection"},
        **keys,
    }


def _loaded(folder: Path, *documents: dict[str, Any], **more: Any) -> LoadedRules:
    (folder / "rules.yml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return load_rules([folder], now=_NOW, **more)


def _users(engine: Engine, loaded: LoadedRules) -> list[tuple[str, object]]:
    """Rule and user of each finding of one connect by each of three accounts; of counts, the number of rows."""
    ref = Recorder(engine).snapshot(*(count(user=user) for user in ("alice", "backup", "carol")))
    found = evaluated(engine, loaded.ruleset, ref)
    return [(finding.rule_title, finding.group.get("user", len(finding.evidence))) for finding in found]


_RULE = event({"DestinationPort": 22}, group_by=["User"])
_OTHER = event({"Initiated": True}, number=3, group_by=["User"])


@pytest.mark.parametrize("named", [["rule_1"], [rule_id(1).upper()], "rule_1"])
def test_a_filter_takes_away_from_the_rule_that_it_names(
    named: list[str] | str, sqlite_engine: Engine, tmp_path: Path
) -> None:
    """By name or by id, one or a list; other rules see what they saw."""
    loaded = _loaded(tmp_path, _RULE, _OTHER, exclusion(named, {"User": "backup"}))
    assert loaded.faults == ()
    assert sorted(_users(sqlite_engine, loaded), key=str) == [
        *(("rule 1", user) for user in ("alice", "carol")),
        *(("rule 3", user) for user in ("alice", "backup", "carol")),
    ]


def test_several_filters_add_up(engine: Engine, tmp_path: Path) -> None:
    """Each takes away what it names; `any` is for all rules of the category, on SQLite and Postgres."""
    loaded = _loaded(
        tmp_path,
        _RULE,
        _OTHER,
        event({"Lost|gt": 0}, number=4, logsource=CAPTURE),
        exclusion(["rule_1"], {"User": "backup"}),
        exclusion("any", {"User|startswith": "car"}, number=8),
    )
    assert loaded.faults == ()
    found = _users(engine, loaded)
    assert sorted(found, key=str) == [("rule 1", "alice"), ("rule 3", "alice"), ("rule 3", "backup")]
    filters = {rule.title: [each.title for each in rule.filters] for rule in loaded.ruleset.rules}
    assert filters == {"rule 1": ["filter 9", "filter 8"], "rule 3": ["filter 8"], "rule 4": []}


def test_a_correlation_does_not_count_what_its_rules_pass_over(engine: Engine, tmp_path: Path) -> None:
    """A filter of a base rule holds in every correlation over it."""
    loaded = _loaded(
        tmp_path, _RULE, correlation(["Host"], {"gte": 1}), exclusion(["rule_1"], {"User": ["backup", "carol"]})
    )
    assert _users(engine, loaded) == [("rule 2", 1)]


def test_a_filter_of_a_correlation_is_its_own(engine: Engine, tmp_path: Path) -> None:
    """One that names a correlation takes away what that counts, and nothing of what others make of the same rule."""
    loaded = _loaded(
        tmp_path,
        _RULE,
        correlation(["Host"], {"gte": 1}),
        correlation(["Host"], {"gte": 1}, number=5),
        exclusion([rule_id(2)], {"User": "backup"}),
    )
    assert loaded.faults == ()
    assert _users(engine, loaded) == [("rule 2", 2), ("rule 5", 3)]


@pytest.mark.parametrize(
    ("until", "ended"),
    [
        ("2026-03-01", True),
        ("2026-03-02", False),
        ("2026-03-02T11:59:59Z", True),
        ("2026-03-02T13:30:00+02:00", True),
        ("2026-03-02 12:00:01", False),
    ],
)
def test_a_filter_ends(until: str, ended: bool, sqlite_engine: Engine, tmp_path: Path) -> None:
    """A day counts to its end, a moment to itself, both in UTC; afterwards the rule sees all, and the end is shown."""
    ending = exclusion(["rule_1"], {"User": ["backup", "carol"]}) | {"x-detector": {"until": until}}
    loaded = _loaded(tmp_path, _RULE, ending)
    assert loaded.faults == ()
    assert len(_users(sqlite_engine, loaded)) == (3 if ended else 1)
    assert [entry.state for entry in loaded.entries] == [State.ACTIVE, State.ENDED if ended else State.ACTIVE]
    assert (loaded.changes_at is None) is ended


def test_a_filter_is_read_in_any_folder(tmp_path: Path, sqlite_engine: Engine) -> None:
    """It names rules of other folders, and of files that are refused: what is not in force needs no filter."""
    for name in ("shipped", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "shipped" / "rule.yml").write_text(yaml.safe_dump(_RULE))
    (tmp_path / "shipped" / "bad.yml").write_text(yaml.safe_dump({**_OTHER, "level": "lwo"}))
    tuned = exclusion(["rule_1", "rule_3"], {"User": "backup"})
    (tmp_path / "mine" / "filter.yml").write_text(yaml.safe_dump(tuned))
    loaded = load_rules([tmp_path / "shipped", tmp_path / "mine"], now=_NOW)
    assert [fault.path for fault in loaded.faults] == [str(tmp_path / "shipped" / "bad.yml")]
    assert len(_users(sqlite_engine, loaded)) == 2


def test_a_filter_of_a_refused_file_does_nothing(tmp_path: Path, sqlite_engine: Engine) -> None:
    """What shares a file with a fault is not in force, a filter included: the rule goes on seeing all."""
    (tmp_path / "rule.yml").write_text(yaml.safe_dump(_RULE))
    lonely = correlation(["Host"], {"gte": 1}, rules=["rule_3"])
    (tmp_path / "filter.yml").write_text(yaml.safe_dump_all([exclusion(["rule_1"], {"User": "backup"}), lonely]))
    (tmp_path / "base.yml").write_text(yaml.safe_dump({**_OTHER, "level": "lwo"}))
    loaded = load_rules([tmp_path], now=_NOW)
    assert {fault.path for fault in loaded.faults} == {str(tmp_path / "base.yml"), str(tmp_path / "filter.yml")}
    assert len(_users(sqlite_engine, loaded)) == 3


def test_filters_cannot_make_a_rule_too_large(tmp_path: Path) -> None:
    """A filter that the databases would not take beside its rule is refused, and the rule stays."""
    patterns = [f"*{number}*" for number in range(399)]
    loaded = _loaded(tmp_path, event({"Image": patterns}))
    assert loaded.faults == ()
    (tmp_path / "filter.yml").write_text(yaml.safe_dump(exclusion(["rule_1"], {"Image": ["*a*", "*b*"]})))
    loaded = load_rules([tmp_path])
    (fault,) = loaded.faults
    expected = "with this filter the rule 'rule 1' makes 401 comparisons, at most 400 fit; split the rule"
    assert fault.message == expected
    assert [rule.filters for rule in loaded.ruleset.rules] == [()]
