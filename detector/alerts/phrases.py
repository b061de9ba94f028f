"""Times, numbers and names as they stand in an alert's sentence."""

from __future__ import annotations

import re
from functools import lru_cache

from detector.visible import visible

# What needs no quotes in a sentence. A name with blanks or commas could go on telling the story in its own favour.
_PLAIN = re.compile(r"[\w./:@%+=~#$-]+", re.ASCII)
_NAME_LIMIT = 120


# The alerts of a snapshot are of few people and programs.
@lru_cache(1024)
def named(text: str) -> str:
    """A name from outside as it may stand in a sentence: printable, bounded, quoted unless it is one plain word."""
    shown = visible(text, _NAME_LIMIT)
    if _PLAIN.fullmatch(shown):
        return shown
    inner = shown.replace('"', "'")
    return f'"{inner}"'
