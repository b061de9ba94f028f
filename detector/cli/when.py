"""Points in time as people write them: 2026-11-20, '2026-11-20 14:00', 7d."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_SPAN = re.compile(r"([0-9]+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FORMS = "2026-11-20, '2026-11-20 14:00', 2026-11-20T14:00:00Z, or a time ago: 30s, 5m, 2h, 7d, 2w"


def parse_moment(text: str, now: datetime) -> datetime:
    """The aware time that `text` means at `now`.

    Spans (`7d`) count back from `now`. Dates and times are ISO 8601; without an offset they are in the local zone,
    and a date alone is its first moment.

    Raises:
        ValueError: not understood, or out of the calendar's range; the message says what can be written.
    """
    try:
        if span := _SPAN.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time; write {FORMS}") from None
