"""Regular expressions mean the same on both databases, and take no longer than the text is long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Text, bindparam, select

from detector.ruleset.regex import RegexError
from detector.ruleset.regex_sql import Regex, holds_match
from detector.store.engine import reading
from tests.examples import examples
from tests.ruleset import regexes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

_ALIKE = settings(derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
_TEXT = bindparam("text", type_=Text)


def _read(text: str, flags: frozenset[str] = frozenset()) -> Regex | None:
    try:
        return Regex.read(text, flags)
    except RegexError:
        return None


def _found(engine: Engine, regex: Regex, texts: Sequence[str]) -> list[bool]:
    statement = select(holds_match(_TEXT, regex))
    with reading(engine) as connection:
        return [bool(connection.scalar(statement, {"text": text})) for text in texts]


def _check(engine: Engine, text: str, flags: frozenset[str], texts: list[str]) -> None:
    regex = _read(text, flags)
    assume(regex is not None)
    assert regex is not None
    assert _found(engine, regex, texts) == [regexes.holds_match(text, flags, each) for each in texts]


_CASES = given(text=regexes.REGEXES, flags=regexes.FLAGS, texts=st.lists(regexes.TEXTS, min_size=1, max_size=6))


@settings(_ALIKE, max_examples=examples(300))
@_CASES
def test_a_match_is_what_it_is_elsewhere(
    sqlite_engine: Engine, text: str, flags: frozenset[str], texts: list[str]
) -> None:
    """Whatever is accepted finds on SQLite what a third engine finds."""
    _check(sqlite_engine, text, flags, texts)


@pytest.mark.postgres
@settings(_ALIKE, max_examples=examples(150))
@_CASES
def test_a_match_is_the_same_on_postgres(
    postgres_engine: Engine, text: str, flags: frozenset[str], texts: list[str]
) -> None:
    """Whatever is accepted finds on Postgres what a third engine finds."""
    _check(postgres_engine, text, flags, texts)


_WORST = (
    "a?" * 160 + "a" * 80 + "$",
    ".*.*.*.*.*.*.*.*.*=$",
    "(?:[ab]*a[ab]{100})$",
    "a.{254}b.{254}c.{254}d",
    "^(?:[a-z]+[.])+x$",
    "(?:\\w{1,254} ){3}!",
    "|".join(f"[a-z]*{letter}" for letter in "bcdefghijklm"),
    "".join(f"[{chr(65 + each)}-z{chr(200 + each)}]{{1,20}}" for each in range(25)),
)


@pytest.mark.parametrize("text", _WORST, ids=range(len(_WORST)))
def test_a_hostile_text_cannot_hang_a_match(engine: Engine, text: str) -> None:
    """The worst that the loader lets pass, against texts as long as a field may be, written to make it try for long."""
    regex = _read(text)
    assert regex is not None
    hostile = ["a" * 4096, "ab" * 2048, "a" * 4095 + "!", "a.b " * 1024, "é" * 4096, "\n" * 4096]
    _found(engine, regex, ["a"])
    before = time.perf_counter()
    _found(engine, regex, hostile)
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+",
        "(a|aa)+",
        "(a|a?)+",
        "(.*)*",
        "(a*)*b",
        "([a-z]+)*!",
        "(\\w+\\d?)+",
        "(.*,)+x",
        "(a?){3,}",
        "(a?){20}",
        "((ab)*)*",
        "(a|b|ab)*c",
    ],
)
def test_what_can_explode_is_refused(text: str) -> None:
    """Repeated parts that match one text in several ways are not let through."""
    with pytest.raises(RegexError, match=r"in many ways|may be nothing"):
        Regex.read(text, frozenset())


@pytest.mark.parametrize(
    "text",
    [
        "([a-z]+\\.)+example",
        "^(/[^/]+)+$",
        "(\\d{1,3}\\.){3}\\d{1,3}",
        "([0-9a-f]{2}:){5}",
        ".*nc.*",
        "(foo|bar)+",
        "(ab?c?)*d",
    ],
)
def test_what_cannot_explode_is_accepted(text: str) -> None:
    """Repetitions within repetitions are no fault where each character fits one place only."""
    assert Regex.read(text, frozenset()).text == text
