"""Points in time as people write them: 2026-11-20, '2026-11-20 14:00', 7d, yesterday, 14:00."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime

_SPAN = re.compile(r"([0-9]+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
# Seconds since 1970, as `date +%s` prints them, from 2001 on: shorter numbers are years, or mistakes.
_EPOCH = re.compile(r"@([0-9]{1,11})|([0-9]{10})")
_MONTH = re.compile(r"[A-Za-z]{3}")
FORMS = (
    "2026-11-20, '2026-11-20 14:00', 2026-11-20T14:00:00Z, 14:00, yesterday, 'monday 9:30', @1795183200, or a time ago:"
    " 30s, 5m, 2h, 7d, 2w"
)

PERIODS = "START..END, 2026-11-20 or yesterday for that day, 7d for the last seven"


def parse_moment(text: str, now: datetime) -> datetime:
    """The aware time that `text` means at `now`.

    Spans (`7d`) count back from `now`. Dates and times are ISO 8601, or as mail and HTTP have them; without an offset
    they are in the local zone, and a date or a day alone is its first moment. A time alone is the last one that was so
    late, today or yesterday; a weekday alone the last one that has begun, today included.

    Raises:
        ValueError: not understood, or out of the calendar's range; the message says what can be written.
    """
    written = text.strip()
    try:
        if span := _SPAN.fullmatch(written):
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        if seconds := _EPOCH.fullmatch(written):
            return datetime.fromtimestamp(int(seconds[1] or seconds[2]), UTC)
        if (moment := _named(written.lower(), now)) is not None:
            return moment
        # As in Fri, 20 Nov 2026 14:00:00 +0100.
        read = parsedate_to_datetime if _MONTH.search(written) else datetime.fromisoformat
        moment = read(written)
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time; write {FORMS}") from None


def parse_period(text: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The time that `text` means at `now`: `START..END`, either of which may be missing; a day; a span back from now.

    Raises:
        ValueError: not understood, or it ends before it begins; the message says what can be written.
    """
    start, dots, end = text.partition("..")
    if dots:
        since, until = (parse_moment(each, now) if each.strip() else None for each in (start, end))
        if since is not None and until is not None and since >= until:
            raise ValueError(f"{text!r} ends before it begins; write {end}..{start}")
        return since, until
    since = parse_moment(text, now)
    if _SPAN.fullmatch(text.strip()):
        return since, now
    first = since.astimezone()
    if ":" in text or first.time() != time() or "@" in text:
        raise ValueError(f"{text!r} is a moment, not a period; write {text}.. or {PERIODS}")
    return since, _local(first.date() + timedelta(days=1), time())


def _named(text: str, now: datetime) -> datetime | None:
    """What is told by the name of a day, by the time of one, or by both; None: it is told otherwise."""
    if text == "now":
        return now
    day, _, clock = text.partition(" ")
    today = now.astimezone().date()
    if _CLOCK.fullmatch(text):
        moment = _local(today, _clock(text))
        return moment if moment <= now else _local(today - timedelta(days=1), _clock(text))
    weekdays = [number for number, name in enumerate(_WEEKDAYS) if day in {name, name[:3]}]
    if day in {"today", "yesterday"}:
        back = int(day == "yesterday")
    elif weekdays and "," not in text:
        back = (today.weekday() - weekdays[0]) % 7
    else:
        return None
    return _local(today - timedelta(days=back), _clock(clock.strip()) if clock.strip() else time())


def _clock(text: str) -> time:
    if not _CLOCK.fullmatch(text):
        raise ValueError(text)
    hour, minute, second = map(int, f"{text}:0".split(":")[:3])
    return time(hour, minute, second)


def _local(day: date, at: time) -> datetime:
    return datetime.combine(day, at).astimezone()
