"""The page on rules tells what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from detector import shipped
from detector.domain import Telling
from detector.ruleset.categories import CATEGORIES
from detector.ruleset.field_page import page
from detector.ruleset.load import load_rules
from detector.ruleset.modifiers import FLAGS, MODIFIERS
from detector.sentence import ALWAYS, NUMBERS, OF_CAPTURE, THINGS
from tests.ruleset.writing import write_list

_DOCS = Path(__file__).parents[2] / "docs"
_PAGE = (_DOCS / "rules.md").read_text(encoding="utf-8")


def _table(heading: str) -> list[list[str]]:
    below = _PAGE.split(heading, maxsplit=1)[1]
    rows = re.findall(r"^\| (.*) \|$", below.split("\n\n", maxsplit=2)[1], re.MULTILINE)
    return [row.split(" | ") for row in rows[2:]]


def test_the_page_of_fields_is_made_from_the_code() -> None:
    """docs/rule-fields.md is what `make docs` makes: each field with word, type, meaning, example and choices."""
    assert (_DOCS / "rule-fields.md").read_text(encoding="utf-8") == page()


def test_every_category_is_introduced() -> None:
    """The kinds of events are those of the code."""
    assert [row[0] for row in _table("of two kinds of events:")] == [f"`{category}`" for category in CATEGORIES]


def test_every_modifier_is_explained() -> None:
    """The table of modifiers has each that a type of field takes, and no other."""
    explained = [name for row in _table("which type of field takes which:") for name in re.findall(r"`(\w+)`", row[0])]
    # With the regular expressions to which they belong.
    assert sorted([*explained, *FLAGS]) == sorted({each for several in MODIFIERS.values() for each in several})


def test_all_that_a_rule_says_of_its_alerts_is_explained() -> None:
    """The table has each key, and below it stands each name that the sentence of a rule may hold."""
    heading = "## How alerts are told"
    assert [row[0] for row in _table("under `x-detector`, too:")] == [f"`{each.name}`" for each in fields(Telling)]
    section = _PAGE.split(heading)[1].split("## ")[0]
    assert all(f"`{name}`" in section for name in (*ALWAYS, *THINGS, *NUMBERS, *OF_CAPTURE))


def test_the_examples_are_sound(tmp_path: Path) -> None:
    """The rules and the list on the page load as they stand."""
    (tor_exits,) = re.findall(r"```\n(# lists/tor_exits.txt\n.*?)```", _PAGE, re.DOTALL)
    write_list(tmp_path, "tor_exits", *tor_exits.splitlines())
    write_list(tmp_path, "researchers", "alice")
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)):
        (tmp_path / f"{number}.yml").write_text(text, encoding="utf-8")
    (tmp_path / "0.yml").rename(tmp_path / "disabled.yml")
    loaded = load_rules([shipped.folder("rules"), tmp_path])
    assert loaded.faults == ()
    ours = [entry for entry in loaded.entries if entry.path.startswith(str(tmp_path))]
    assert {entry.kind for entry in ours} == {"event", "correlation", "filter"}
