"""What is wrong with a rule file is said with its line, the reason and the remedy; nothing is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detector.ruleset.load import load_rules

_ID = "0b1d2f6a-8f3e-4a58-9d80-3a3c1c5e9b11"
_OTHER_ID = "9a4c3f52-7a0b-4f0e-9c1e-6a1d4c7b2e90"
_GOOD = f"""\
title: a rule
id: {_ID}
name: base
level: low
logsource: {{category: network_connection, product: linux}}
detection:
  selection:
    DestinationPort: 22
  condition: selection
"""
_CORRELATION = """\
title: a correlation
id: 5f9d7c1e-3c55-4f0b-8a43-0d0a3f5f8f27
level: low
correlation:
  type: event_count
  rules: base
  group-by: [User]
  timespan: 5m
  condition: {gte: 20}
"""


def _rule(old: str, new: str) -> str:
    assert old in _GOOD
    return _GOOD.replace(old, new)


def _selection(lines: str) -> str:
    return _rule("DestinationPort: 22", lines)


_BROKEN = Path(__file__).parent / "broken"
_LINES = (_BROKEN / "faults.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", sorted(path.name for path in _BROKEN.glob("*.yml")))
def test_a_fault_is_named_with_line_reason_and_remedy(name: str) -> None:
    """Each broken file gives exactly the faults that broken/faults.txt expects of it, and no rule."""
    loaded = load_rules([_BROKEN / name])
    told = [str(fault).replace(f"{_BROKEN}/", "") for fault in loaded.faults]
    assert told == [line for line in _LINES if line.startswith(f"{name}:")]
    assert told
    assert loaded.ruleset.rules == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title: " + "[" * 4000 + "]" * 4000, "1: nested more than 12 levels deep; write it flatter"),
        (
            _selection("DestinationPort: 0x" + "f" * 5000),
            f"8: 'DestinationPort': '0x{'f' * 58}' cannot be compared; write a number below 2^63",
        ),
        (_selection("Image: " + "a" * 4097), "8: the value is longer than 4096 characters; shorten it"),
        (
            _selection("Image:\n" + "".join(f"      - '*{number}*'\n" for number in range(401))),
            "411: makes 401 comparisons, at most 400 fit; split the rule",
        ),
        (
            _selection(f"Session: {list(range(2001))}"),
            "9: compares with 2001 values, at most 2000 fit; split the rule",
        ),
    ],
    ids=["nesting", "digits", "text", "patterns", "values"],
)
def test_what_is_too_large_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    """Nesting, numbers, texts and lists that would break a database or the reader are refused where they are read."""
    path = tmp_path / "rule.yml"
    path.write_text(text, encoding="utf-8")
    assert [str(fault).removeprefix(f"{path}:") for fault in load_rules([tmp_path]).faults] == [expected]


def test_the_good_rules_that_the_broken_ones_are_made_of_are_accepted(tmp_path: Path) -> None:
    """What the broken files share is sound."""
    (tmp_path / "rule.yml").write_text(f"{_GOOD}---\n{_CORRELATION}", encoding="utf-8")
    loaded = load_rules([tmp_path])
    assert loaded.faults == ()
    assert [rule.kind for rule in loaded.ruleset.rules] == ["event", "correlation"]


def test_a_broken_file_does_not_take_others_down(tmp_path: Path) -> None:
    """All faults of all files come at once, and the sound files load."""
    (tmp_path / "a.yml").write_text(_rule("level: low", "level: lwo"), encoding="utf-8")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.yml").write_text(_selection("Usr: root"), encoding="utf-8")
    (tmp_path / "good.yml").write_text(_GOOD.replace(_ID, _OTHER_ID).replace("base", "other"), encoding="utf-8")
    loaded = load_rules([tmp_path])
    assert sorted({fault.path for fault in loaded.faults}) == [
        str(tmp_path / "a.yml"),
        str(tmp_path / "below" / "b.yml"),
    ]
    assert [rule.path for rule in loaded.ruleset.rules] == [str(tmp_path / "good.yml")]


def test_a_fault_keeps_the_whole_file_out(tmp_path: Path) -> None:
    """A sound rule that shares a file with a broken one is not in force."""
    (tmp_path / "rule.yml").write_text(f"{_GOOD}---\n{_selection('Usr: root')}", encoding="utf-8")
    assert load_rules([tmp_path]).ruleset.rules == ()


def test_a_correlation_over_a_refused_rule_is_refused_with_it(tmp_path: Path) -> None:
    """Refusal spreads from file to file: to the correlation, and to what counts rules of its file."""
    other = _GOOD.replace(_ID, _OTHER_ID).replace("name: base", "name: other")
    last = _CORRELATION.replace("5f9d7c1e", "6f9d7c1e").replace("rules: base", "rules: other")
    (tmp_path / "a.yml").write_text(last, encoding="utf-8")
    (tmp_path / "b.yml").write_text(f"{other}---\n{_CORRELATION}", encoding="utf-8")
    (tmp_path / "c.yml").write_text(_rule("level: low", "level: lwo"), encoding="utf-8")
    loaded = load_rules([tmp_path])
    assert [str(fault) for fault in loaded.faults] == [
        f"{tmp_path}/a.yml:6: the rule 'other' is refused; correct {tmp_path}/b.yml first",
        f"{tmp_path}/b.yml:16: the rule 'base' is refused; correct {tmp_path}/c.yml first",
        f"{tmp_path}/c.yml:4: level is never 'lwo'; did you mean low?",
    ]
    assert loaded.ruleset.rules == ()


def test_what_rules_of_several_files_add_up_to_is_limited(tmp_path: Path) -> None:
    """A correlation over base rules that fit alone but not together is refused."""
    patterns = "Image:\n" + "".join(f"      - '*{number}*'\n" for number in range(250))
    (tmp_path / "a.yml").write_text(_selection(patterns), encoding="utf-8")
    second = _selection(patterns).replace(_ID, _OTHER_ID).replace("name: base", "name: other")
    (tmp_path / "b.yml").write_text(second, encoding="utf-8")
    (tmp_path / "c.yml").write_text(_CORRELATION.replace("rules: base", "rules: [base, other]"), encoding="utf-8")
    (fault,) = load_rules([tmp_path]).faults
    assert str(fault).endswith(
        "c.yml:6: with all its rules the correlation makes 500 comparisons, at most 400 fit; split the rule"
    )


def test_files_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    """A missing folder, a pipe, a huge file, bytes that are no text and a misnamed file are told apart."""
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "huge.yml").write_bytes(b"#" * (256 * 1024 + 1))
    (tmp_path / "latin.yml").write_bytes(b"title: x\nauthor: Ren\xe9\n")
    (tmp_path / "rule.yaml").write_text(_GOOD, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a rule", encoding="utf-8")
    (tmp_path / "memory.yml").symlink_to("/proc/self/mem")
    loaded = load_rules([tmp_path, tmp_path / "absent", tmp_path / "notes.txt", tmp_path / ("x" * 300)])
    assert [str(fault).removeprefix(f"{tmp_path}/") for fault in loaded.faults] == [
        "absent:0: the rule folder does not exist; create it or correct [rules] folders",
        "huge.yml:0: is larger than 256 kB; split it into several files",
        "latin.yml:2: is not UTF-8 text; save the file as UTF-8",
        "memory.yml:0: Input/output error; let the detector's user read it",
        "notes.txt:0: the rule folder is not a folder; create it or correct [rules] folders",
        "pipe.yml:0: is not a regular file; remove it",
        "rule.yaml:0: is not read; rule files end in .yml: rename it",
        f"{'x' * 300}:0: File name too long; let the detector's user read it",
    ]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """A folder and a file in it, or two ways to the same folder, are no duplicates."""
    path = tmp_path / "rule.yml"
    path.write_text(_GOOD, encoding="utf-8")
    loaded = load_rules([tmp_path, path, tmp_path / ".." / tmp_path.name])
    assert loaded.faults == ()
    assert [rule.path for rule in loaded.ruleset.rules] == [str(path)]
