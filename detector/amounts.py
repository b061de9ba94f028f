"""Amounts as people read them in a sentence."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

_MEGABYTE = 1_000_000
# From here on a digit after the point says nothing.
_WHOLE = 10
_LEAST = 0.1


def numbered(count: int, noun: str, plural: str | None = None) -> str:
    """ "1 port", "65,535 ports"; `plural` where it is not the noun and an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def megabytes(size: int) -> str:
    """ "12 MB", "1.5 MB", "under 0.1 MB", of bytes."""
    value = size / _MEGABYTE
    if 0 < value < _LEAST:
        return f"under {_LEAST} MB"
    return f"{value:,.0f} MB" if value >= _WHOLE else f"{value:.1f} MB"


# The alerts of a snapshot last as long.
@lru_cache(256)
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


def looked_back(duration: timedelta) -> str:
    """ "30 days", "1 day": how far back something was looked for; of less than a day as `humanised` has it."""
    return numbered(duration.days, "day") if duration.days else humanised(duration)
