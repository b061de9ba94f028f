"""A time line of connects, drawn with block characters."""

from __future__ import annotations

import sys
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from detector.cli.terminal import local, say
from detector.store.timeline import FINE, Moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BLOCKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
# What terminals without these have.
_PLAIN = " ......###"
_HEIGHT = 8
_WIDTH = 64
_SECONDS = (10, 30, 60, 120, 300, 600, 900, 1800)
_HOURS = (1, 2, 3, 6, 12)
_DAYS = (1, 2, 7, 14, 28, 91, 364)
NAMES = ("start", "end", "connects", "unsuccessful")
"""What a span has."""
_ORIGIN = date(2024, 1, 1)
_LABEL = len("00:00 ")


@dataclass(frozen=True, slots=True)
class Bars:
    """Equal spans of time, one after another, and what there was in each."""

    starts: Sequence[datetime]
    length: timedelta
    moments: Sequence[Moment]


def length_for(since: datetime, until: datetime, *, fine: bool) -> timedelta:
    """How long the spans are, so that a period fits the width."""
    lengths = [timedelta(hours=hours) for hours in _HOURS] + [timedelta(days=days) for days in _DAYS]
    if fine:
        lengths = [timedelta(seconds=seconds) for seconds in _SECONDS] + lengths
    # One more at either end is begun and not full.
    needed = (until - since) / (_WIDTH - 2)
    return next((length for length in lengths if length >= needed), lengths[-1])


def is_fine(since: datetime, until: datetime) -> bool:
    """Whether the period is so short that hours are too coarse."""
    return until - since <= FINE


def bars(found: Mapping[datetime, Moment], since: datetime, until: datetime, length: timedelta) -> Bars:
    """What was found, in spans that begin at round times of the local zone."""
    first, last = _floor(since, length), _floor(until - timedelta(microseconds=1), length)
    starts = [first]
    while starts[-1] < last:
        starts.append(_next(starts[-1], length))
    moments = [Moment() for _ in starts]
    for start, moment in found.items():
        # What began before the period reaches into it.
        place = moments[max(bisect_right(starts, start) - 1, 0)]
        place.connects += moment.connects
        place.unsuccessful += moment.unsuccessful
    return Bars(starts=starts, length=length, moments=moments)


def as_objects(drawn: Bars) -> list[dict[str, Any]]:
    """The spans as objects."""
    return [
        {
            "start": start,
            "end": _next(start, drawn.length),
            "connects": moment.connects,
            "unsuccessful": moment.unsuccessful,
        }
        for start, moment in zip(drawn.starts, drawn.moments, strict=True)
    ]


def draw(drawn: Bars) -> None:
    """The time line on standard output: at most 80 columns, the time below in the local zone, the number beside."""
    blocks = _blocks()
    connects = [moment.connects for moment in drawn.moments]
    ended_badly = [moment.unsuccessful for moment in drawn.moments]
    most = max(connects)
    margin = max(len(f"{most:,}"), len("failed")) + 1
    say(f"connects in each {_span_words(drawn.length)}, {sum(connects):,} in all")
    for level in range(_HEIGHT, 0, -1):
        scale = {_HEIGHT: f"{most:,}", 1: "0" if most else ""}.get(level, "")
        line = "".join(_block(blocks, number, most, level) for number in connects)
        say(f"{scale:>{margin - 1}} {line}".rstrip())
    if any(ended_badly):
        line = "".join(_block(blocks, number, max(ended_badly), 1, height=1) for number in ended_badly)
        say(f"{'failed':>{margin - 1}} {line}  most {max(ended_badly):,}")
    marks, labels = _axis(drawn)
    say(f"{'':>{margin}}{marks}".rstrip())
    say(f"{'':>{margin}}{labels}".rstrip())
    say(f"{local(drawn.starts[0])} to {local(_next(drawn.starts[-1], drawn.length))}")


def _axis(drawn: Bars) -> tuple[str, str]:
    """Marks where there is a label, and the labels: times of day, and days where these begin."""
    width = len(drawn.starts) + _LABEL
    marks, labels = [" "] * width, [" "] * width
    free = 0
    before: date | None = None
    for place, start in enumerate(drawn.starts):
        shown = start.astimezone()
        day = shown.date() != before
        before = shown.date()
        round_time = day or drawn.length >= timedelta(days=1) or _is_round(shown, drawn.length)
        if place < free or not round_time:
            continue
        text = f"{shown:%m-%d}" if day and (place or drawn.length >= timedelta(hours=1)) else f"{shown:%H:%M}"
        marks[place] = "|"
        labels[place : place + len(text)] = text
        free = place + len(text) + 2
    return "".join(marks), "".join(labels)


def _is_round(shown: datetime, length: timedelta) -> bool:
    minutes = 60 * shown.hour + shown.minute
    return shown.second == 0 and minutes % max(5 * length // timedelta(minutes=1), 1) == 0


def _blocks() -> str:
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN
    return _BLOCKS


def _block(blocks: str, number: int, most: int, level: int, *, height: int = _HEIGHT) -> str:
    """The part of a bar that is in a line; whatever there was is seen."""
    eighths = max(round(8 * height * number / most), 1) if number else 0
    return blocks[min(max(eighths - 8 * (level - 1), 0), 8)]


def _span_words(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds % size == 0:
            number = seconds // size
            return unit if number == 1 else f"{number} {unit}s"
    raise AssertionError(length)


def _floor(moment: datetime, length: timedelta) -> datetime:
    """The start of the span of the local zone that a moment falls into."""
    shown = moment.astimezone()
    if length >= timedelta(days=1):
        days = (shown.date() - _ORIGIN).days
        return _midnight(_ORIGIN + timedelta(days=days - days % length.days))
    if length >= timedelta(hours=1):
        hours = length // timedelta(hours=1)
        # By the clock on the wall: where it is set, a span is an hour longer or shorter.
        return shown.replace(hour=shown.hour - shown.hour % hours, minute=0, second=0, microsecond=0).astimezone(UTC)
    since = shown - datetime(1970, 1, 1, tzinfo=UTC)
    return (shown - since % length).astimezone(UTC)


def _next(start: datetime, length: timedelta) -> datetime:
    """The start of the span after one."""
    if length >= timedelta(days=1):
        return _midnight(start.astimezone().date() + length)
    after = _floor(start + length + length / 2, length)
    return after if after > start else start + length


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day).astimezone().astimezone(UTC)
