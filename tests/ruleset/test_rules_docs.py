"""The page on rules tells what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from detector.ruleset.categories import CATEGORIES
from detector.ruleset.compare import MODIFIERS
from detector.ruleset.fields import Field, Kind
from detector.ruleset.load import load_rules

_PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


def _table(heading: str) -> list[list[str]]:
    below = _PAGE.split(heading, maxsplit=1)[1]
    rows = re.findall(r"^\| (.*) \|$", below.split("\n\n", maxsplit=2)[1], re.MULTILINE)
    return [row.split(" | ") for row in rows[2:]]


def _word(field: Field) -> str:
    if field.kind is Kind.OUTCOME:
        return "a column each"
    return "`remote_port`, `local_port`" if field.word == "remote_port" else f"`{field.word}`"


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_field_is_described(category: str) -> None:
    """The table of fields is that of the code: names, words, types, meanings, examples, and no other row."""
    assert _table(f"## Fields of {category}") == [
        [
            f"`{field.name}`",
            _word(field),
            field.kind.value,
            "yes" if field.groups else "no",
            field.meaning,
            f"`{field.example}`",
        ]
        for field in CATEGORIES[category].fields.values()
    ]


def test_every_choice_is_named() -> None:
    """The values of fields with a fixed set of them stand below the table, and every category is introduced."""
    below = _PAGE.split("`Outcome` is one of", maxsplit=1)[1]
    chosen = (each.choices for category in CATEGORIES.values() for each in category.fields.values())
    for value in (value for choices in chosen for value in choices):
        assert f"`{value}`" in below
    assert [row[0] for row in _table("of two kinds of events:")] == [f"`{category}`" for category in CATEGORIES]


def test_every_modifier_is_listed() -> None:
    """The table of modifiers is that of the code."""
    listed = {
        kind.strip(): tuple(re.findall(r"`(\w+)`", modifiers))
        for kinds, modifiers in _table("(keywords) are refused.")
        for kind in kinds.split(",")
    }
    assert listed == {kind.value: modifiers for kind, modifiers in MODIFIERS.items()}


def test_the_examples_are_sound(tmp_path: Path) -> None:
    """The rules on the page load as they stand."""
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)):
        (tmp_path / f"{number}.yml").write_text(text, encoding="utf-8")
    loaded = load_rules([tmp_path])
    assert loaded.faults == ()
    assert len(loaded.ruleset.rules) == 11
