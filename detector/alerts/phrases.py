"""Times, numbers and names as they stand in an alert's sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detector.visible import visible

if TYPE_CHECKING:
    from datetime import timedelta

# What needs no quotes in a sentence. A name with blanks or commas could go on telling the story in its own favour.
_PLAIN = re.compile(r"[\w./:@%+=~#$-]+", re.ASCII)
_NAME_LIMIT = 120


def humanised(duration: timedelta) -> str:
    """ "40 s", "2 min 30 s", "3 h 5 min", "2 d 4 h": the two largest units that are not zero."""
    seconds = round(duration.total_seconds())
    if seconds < 1:
        return "less than a second"
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, seconds = divmod(seconds, size)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def numbered(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 port", "65,535 ports"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def named(text: str) -> str:
    """A name from outside as it may stand in a sentence: printable, bounded, quoted unless it is one plain word."""
    shown = visible(text, _NAME_LIMIT)
    if _PLAIN.fullmatch(shown):
        return shown
    inner = shown.replace('"', "'")
    return f'"{inner}"'
