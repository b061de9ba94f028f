"""What is said of a bad configuration: in TOML's words, with the nearest thing that would be right."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CHANNEL_NAME = r"^[a-z0-9][a-z0-9_-]{0,31}\Z"
HOST = r"^[^\x00-\x20\x7f-\xa0\ud800-\udfff]{0,253}\Z"
VARIABLE = r"^([A-Za-z_][A-Za-z0-9_]{0,254})?\Z"

_MEANINGS = {
    "`object`": "a table",
    "`array`": "a list",
    "`str`": "text",
    "`float`": "a number",
    "`int`": "a whole number",
    "`bool`": "true or false",
    f"matching regex {CHANNEL_NAME!r}": "of at most 32 of a-z, 0-9, - and _",
    f"matching regex {VARIABLE!r}": "of letters, digits and _",
    f"matching regex {HOST!r}": "of at most 253 characters, none of them a space or control character",
}


def expectation(said: str) -> str:
    """What msgspec said of a value ("Expected `float` >= 1.0"), for someone who writes TOML."""
    for word, meaning in _MEANINGS.items():
        said = said.replace(word, meaning)
    return said[:1].lower() + said[1:]


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` may have been meant for; else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def example(default: object) -> str:
    """How a value such as `default` is written."""
    if isinstance(default, bool):
        return "true or false"
    return '["one", "two"]' if isinstance(default, tuple) else str(default)
