"""Functions of text that SQLite lacks and Postgres has: reversal, and regular expressions.

These are RE2's, whose time is linear in the text whatever is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

# Of rules in force; each takes some kilobytes.
_MOST_COMPILED = 2000


def register(raw: sqlite3.Connection) -> None:
    """Gives a connection `holds_match(text, pattern)` and `reversed(text)`; NULL where the text is missing."""
    raw.create_function("holds_match", 2, _holds_match, deterministic=True)
    raw.create_function("reversed", 1, _reversed, deterministic=True)


def _holds_match(text: str | None, pattern: str) -> bool | None:
    return None if text is None else _compiled(pattern)(text)


def _reversed(text: str | None) -> str | None:
    return None if text is None else text[::-1]


@lru_cache(_MOST_COMPILED)
def _compiled(pattern: str) -> Callable[[str], bool]:
    # Here: a collector has no need of it.
    import re2

    options = re2.Options()
    options.log_errors = False
    search = re2.compile(pattern, options).search
    return lambda text: search(text) is not None
