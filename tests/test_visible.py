"""Text from outside, made harmless to look at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detector.visible import visible
from tests.hostile import TEXT


@given(TEXT, st.none() | st.integers(min_value=1, max_value=200))
def test_what_comes_out_prints_on_one_line_and_is_bounded(text: str, limit: int | None) -> None:
    """Whatever goes in, the result is printable, stays on one line, can be encoded, and keeps the limit."""
    shown = visible(text, limit)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
    assert limit is None or len(shown) <= limit


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=50))
def test_plain_text_is_left_alone(text: str) -> None:
    """Text of printable ASCII comes out as it went in."""
    assert visible(text) == text
    assert visible(text, 50) == text


def test_what_does_not_print_is_written_out() -> None:
    """Escape sequences, line breaks and marks of direction can be seen instead of taking effect."""
    assert visible("\x1b[2J") == r"\x1b[2J"
    assert visible("a\r\nb") == r"a\r\nb"
    assert visible("\u202egpj") == r"\u202egpj"
    assert visible("日本") == "日本"


def test_a_cut_is_marked() -> None:
    """What was left out leaves an ellipsis, also when only writing it out made the text too long."""
    assert visible("abcdef", 4) == "abc…"
    assert visible("ab\x1b", 4) == r"ab\…"
