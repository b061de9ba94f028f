"""What users put over the shipped rules: copies that take their place, and lists of what is disabled."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector import shipped
from detector.ruleset.catalogue import State
from detector.ruleset.load import LoadedRules, load_rules
from tests.ruleset.writing import correlation, event, rule_id

_NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
_RULE = event({"DestinationPort": 22})
_CORRELATION = correlation(["Host"], {"gte": 1})


@pytest.fixture
def shipped_folder(tmp_path: Path) -> Path:
    """A folder as it might ship: a rule, and a correlation over it."""
    return _write(tmp_path / "shipped" / "rule.yml", _RULE, _CORRELATION).parent


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The user's folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def _write(path: Path, *documents: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path


def _disable(folder: Path, *numbers: int, **more: Any) -> None:
    entries = [{"id": rule_id(number), "author": "alice", "reason": "noise", **more} for number in numbers]
    _write(folder / "disabled.yml", {"disabled": entries})


def _states(loaded: LoadedRules) -> list[tuple[str, int, State]]:
    return [(Path(entry.path).parent.name, entry.line, entry.state) for entry in loaded.entries]


def _reporting(loaded: LoadedRules) -> list[str]:
    return [rule.title for rule in loaded.ruleset.rules if rule.produces_findings]


def test_a_copy_takes_the_place_of_what_ships(shipped_folder: Path, mine: Path) -> None:
    """The same id in a folder named later: the copy is in force, what it was copied from is shown as replaced, and the
    rest of its file stays.
    """
    _write(mine / "other name.yml", {**_CORRELATION, "title": "copy"})
    loaded = load_rules([shipped_folder, mine])
    assert loaded.faults == ()
    assert [rule.title for rule in loaded.ruleset.rules] == ["rule 1", "copy"]
    assert _states(loaded) == [
        ("mine", 1, State.ACTIVE),
        ("shipped", 1, State.FEEDING),
        ("shipped", 13, State.REPLACED),
    ]
    assert load_rules([mine, shipped_folder]).ruleset.rules[1].title == "rule 2"


def test_a_copy_of_all_that_ships_is_no_fault(tmp_path: Path) -> None:
    """Ids and names of the copies are those of the originals."""
    for path in shipped.folder("rules").glob("*.yml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    loaded = load_rules([shipped.folder("rules"), tmp_path])
    assert loaded.faults == ()
    assert {Path(rule.path).parent for rule in loaded.ruleset.rules} == {tmp_path}


def test_an_id_is_given_once_in_a_folder(mine: Path) -> None:
    """Within one folder nothing says which of two should count."""
    _write(mine / "a.yml", _RULE)
    _write(mine / "b.yml", {**_RULE, "name": "other"})
    (fault,) = load_rules([mine]).faults
    assert fault.message.startswith(f"the id '{rule_id(1)}' belongs to the rule at {mine / 'a.yml'}:1")


def test_what_a_broken_copy_would_replace_stays_in_force(shipped_folder: Path, mine: Path) -> None:
    """A copy that is refused does not take down what it was copied from, nor what counts it."""
    _write(mine / "copy.yml", {**_RULE, "level": "lwo"})
    loaded = load_rules([shipped_folder, mine])
    assert [fault.path for fault in loaded.faults] == [str(mine / "copy.yml")]
    assert [rule.title for rule in loaded.ruleset.rules] == ["rule 1", "rule 2"]
    assert _states(loaded) == [("mine", 1, State.REFUSED), ("shipped", 1, State.FEEDING), ("shipped", 13, State.ACTIVE)]


def test_a_disabled_rule_reports_nothing_and_feeds_what_counts_it(shipped_folder: Path, mine: Path) -> None:
    """Disabling a base rule does not blind the correlation; disabling that does not wake the base."""
    _write(mine / "more.yml", event({"User": "root"}, number=3))
    _disable(mine, 1, 3)
    loaded = load_rules([shipped_folder, mine])
    assert loaded.faults == ()
    assert _reporting(loaded) == ["rule 2"]
    _disable(mine, 2)
    loaded = load_rules([shipped_folder, mine])
    assert _reporting(loaded) == ["rule 3"]
    (disabled,) = [entry for entry in loaded.entries if entry.state is State.DISABLED]
    assert (disabled.title, disabled.why) == ("rule 2", "by alice: noise")


def test_a_filter_can_be_disabled(mine: Path) -> None:
    """Then rules see again what it passed over."""
    passed = {"title": "filter", "id": rule_id(9), "author": "a", "description": "b", "logsource": _RULE["logsource"]}
    section = {"rules": ["rule_1"], "selection": {"User": "backup"}, "condition": "not selection"}
    _write(mine / "rule.yml", _RULE, {**passed, "filter": section})
    assert [len(rule.filters) for rule in load_rules([mine]).ruleset.rules] == [1]
    _disable(mine, 9)
    assert [len(rule.filters) for rule in load_rules([mine]).ruleset.rules] == [0]


def test_an_entry_without_its_rule_does_not_wake_others(shipped_folder: Path, mine: Path) -> None:
    """After an upgrade that dropped a rule its entry is a fault, and the rest of the list is in force, for long."""
    _disable(mine, 2, 7)
    loaded = load_rules([shipped_folder, mine])
    for _ in range(2):
        assert [fault.message for fault in loaded.faults] == [f"no rule has the id '{rule_id(7)}'; remove the entry"]
        assert _reporting(loaded) == []
        loaded = load_rules([shipped_folder, mine], good=loaded.files)


def test_disabling_ends(shipped_folder: Path, mine: Path) -> None:
    """Past its end the rule reports again, without anybody's doing; when that is, the loader says."""
    _disable(mine, 2, until="2026-03-02")
    before = load_rules([shipped_folder, mine], now=_NOW)
    assert before.changes_at == datetime(2026, 3, 3, tzinfo=UTC)
    assert _reporting(before) == []
    after = load_rules([shipped_folder, mine], now=before.changes_at)
    assert (_reporting(after), after.changes_at) == (["rule 2"], None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("disabled: yes", "1: disabled is not a list; write id, author and reason of each rule after a dash"),
        ("disbled: []", "1: 'disbled' is an empty list; write a value or remove it"),
        ("disbled: [1]", "1: unknown key 'disbled' in disabled.yml; did you mean disabled?"),
        ("disabled:\n- id: 7", "2: id is no UUID: 7; make one with uuidgen"),
        ("disabled:\n- {id: &, author: a}", "2: the entry has no reason; add it"),
        ("disabled:\n- {id: &, author: a, reson: b}", "2: unknown key 'reson' in 0; did you mean reason?"),
        ("disabled:\n- {id: &, author: a, reason: b, until: soon}", "2: until is no time: 'soon'; write a day such"),
        (
            "disabled:\n- {id: 0b1d2f6a-8f3e-4a58-9d80-3a3c1c5e9b11, author: a, reason: b}",
            "2: no rule has the id '0b1d2f6a-8f3e-4a58-9d80-3a3c1c5e9b11'; remove the entry",
        ),
        (
            "disabled:\n- {id: &, author: a, reason: b}\n- {id: &, author: a, reason: b}",
            "3: the rule is disabled twice; keep one",
        ),
    ],
)
def test_faults_of_the_list_are_named(text: str, expected: str, shipped_folder: Path, mine: Path) -> None:
    """Each with its line; a list with a fault disables nothing."""
    (mine / "disabled.yml").write_text(text.replace("&", f'"{rule_id(2)}"'))
    loaded = load_rules([shipped_folder, mine])
    told = [str(fault).removeprefix(f"{mine}/disabled.yml:") for fault in loaded.faults]
    assert any(each.startswith(expected) for each in told), told
    assert _reporting(loaded) == ["rule 2"]


def test_what_was_good_stays_in_force(shipped_folder: Path, mine: Path) -> None:
    """Of a file that has become bad the last good version counts, for correlations and filters too; one that is gone is
    gone; and a folder that cannot be read takes nothing away.
    """
    copy = _write(mine / "copy.yml", {**_RULE, "title": "mine"})
    before = load_rules([shipped_folder, mine])
    copy.write_text("title: [")
    bad = load_rules([shipped_folder, mine], good=before.files)
    assert [fault.path for fault in bad.faults] == [str(copy)]
    assert [rule.title for rule in bad.ruleset.rules] == ["mine", "rule 2"]
    again = load_rules([shipped_folder, mine], good=bad.files)
    assert [rule.title for rule in again.ruleset.rules] == ["mine", "rule 2"]
    copy.unlink()
    gone = load_rules([shipped_folder, mine], good=again.files)
    assert [rule.title for rule in gone.ruleset.rules] == ["rule 1", "rule 2"]
    away = load_rules([shipped_folder.rename(mine.parent / "away") / "..", mine], good=gone.files)
    assert [rule.title for rule in away.ruleset.rules] == ["rule 1", "rule 2"]


def test_what_has_not_changed_is_not_read_again(mine: Path) -> None:
    """A file is the same until its inode, size or times are others, however it was changed."""
    path = _write(mine / "rule.yml", _RULE)
    _write(mine / "other.yml", event({"User": "root"}, number=3))
    before = load_rules([mine])
    mode = path.stat().st_mode
    for text in (path.read_text().replace("rule 1", "rule A"), path.read_text().replace("rule 1", "rule B")):
        (mine / "new").write_text(text)
        (mine / "new").rename(path)
        after = load_rules([mine], good=before.files)
        assert [rule.title for rule in after.ruleset.rules] == [text.splitlines()[0].removeprefix("title: "), "rule 3"]
        assert after.files[str(mine / "other.yml")] is before.files[str(mine / "other.yml")]
        before = after
    path.chmod(mode)
    assert load_rules([mine], good=before.files).files[str(path)] is not before.files[str(path)]


def test_a_base_that_has_become_bad_keeps_its_correlation(mine: Path) -> None:
    """What counts rules of a file that became bad counts those of its last good version, as it stands now itself."""
    base = _write(mine / "base.yml", _RULE)
    _write(mine / "correlation.yml", _CORRELATION)
    before = load_rules([mine])
    _write(base, {**_RULE, "level": "lwo"})
    _write(mine / "correlation.yml", {**_CORRELATION, "title": "newer"})
    bad = load_rules([mine], good=before.files)
    assert [rule.title for rule in bad.ruleset.rules] == ["rule 1", "newer"]
    assert [fault.path for fault in bad.faults] == [str(base)]
