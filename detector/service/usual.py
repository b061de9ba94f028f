"""What an alert's actor does otherwise, hour by hour, as sentences and as a chart. Pure: the past is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING

from detector.notify.charts import Chart
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.domain import Alert
    from detector.store.timeline import Moment

HOUR = timedelta(hours=1)
LOOKED_BACK = timedelta(days=28)
SHOWN_HOURS = 48
# Of fewer there are no nine of ten.
_FEWEST_DAYS = 4
_PART = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What an actor did on a host."""

    who: str
    """In words: "alice on bastion-1"."""
    began: datetime
    """Since when the host has been watched, within the time looked back."""
    hours: Mapping[datetime, int]
    """Connects by the start of the hour (UTC); none of those without any."""

    @classmethod
    def of(cls, who: str, began: datetime, moments: Mapping[datetime, Moment]) -> Past:
        """From moments as the store tells them, whatever their length."""
        hours: dict[datetime, int] = {}
        for start, moment in moments.items():
            hour = _floor(start)
            hours[hour] = hours.get(hour, 0) + moment.connects
        return cls(who=who, began=began, hours=hours)


def sentences(past: Past, alert: Alert) -> tuple[str, ...]:
    """What is normal for the actor: how many of the hours, how many connects, and at this time of day."""
    now = _floor(alert.start)
    before = _whole_hours(past, now)
    if not before:
        return ()
    active = [past.hours[hour] for hour in before if past.hours.get(hour)]
    days = max(1, round(len(before) / 24))
    told = f"In the {_days(days)} before"
    who = visible(past.who, 100)
    if not active:
        return (f"{told}, {who} made no connects at all.",)
    often = f"{len(active):,} of {len(before):,} hours"
    said = [f"{told}, {who} made connects in {often}: {_quantile(active, 0.5):,} as a rule, at most {max(active):,}."]
    same = [past.hours.get(hour, 0) for hour in before if hour.hour == now.hour]
    if len(same) >= _FEWEST_DAYS:
        low, high = _band(same)
        usual = f"{low:,} to {high:,}" if low != high else f"{high:,}"
        said.append(f"At this time of day ({now:%H}:00 to {now + HOUR:%H}:00 UTC) {usual} are usual.")
    return tuple(said)


def chart(past: Past, alert: Alert) -> Chart | None:
    """The hours before the alert and those of it, beside what is usual at their times of day; None: nothing was."""
    end = _floor(alert.end - timedelta(microseconds=1))
    starts = [end - HOUR * number for number in range(SHOWN_HOURS - 1, -1, -1)]
    # What was not watched was not nothing.
    starts = [start for start in starts if start >= _floor(past.began)]
    if not starts or not any(past.hours.get(start) for start in starts):
        return None
    before = _whole_hours(past, _floor(alert.start))
    by_time: dict[int, list[int]] = {}
    for hour in before:
        by_time.setdefault(hour.hour, []).append(past.hours.get(hour, 0))
    known = all(len(by_time.get(start.hour, ())) >= _FEWEST_DAYS for start in starts)
    bands = [_band(by_time[start.hour]) for start in starts] if known else []
    days = max(1, round(len(before) / 24))
    return Chart(
        title=visible(f"connects of {past.who}, per hour", 112),
        starts=tuple(starts),
        span_seconds=HOUR.total_seconds(),
        values=tuple(float(past.hours.get(start, 0)) for start in starts),
        low=tuple(float(low) for low, _ in bands),
        high=tuple(float(high) for _, high in bands),
        band=f"9 of 10 of the same hours in {_days(days)}" if bands else "",
        marked=(max(alert.start, starts[0]), max(alert.end, starts[0])),
        mark=f"alert {alert.alert_id}",
    )


def _whole_hours(past: Past, now: datetime) -> Sequence[datetime]:
    """Those that were watched from beginning to end before an hour."""
    first = max(past.began, now - LOOKED_BACK)
    start = _floor(first)
    if start < first:
        start += HOUR
    return [start + HOUR * number for number in range(max(0, (now - start) // HOUR))]


def _band(values: Sequence[int]) -> tuple[int, int]:
    """Between which nine of ten lie: as many are below as above."""
    rest = (1 - _PART) / 2
    return _quantile(values, rest), _quantile(values, 1 - rest)


def _quantile(values: Sequence[int], part: float) -> int:
    """The smallest value that at least this part of all does not exceed."""
    return sorted(values)[max(0, ceil(part * len(values)) - 1)]


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _days(number: int) -> str:
    return f"{number} days" if number > 1 else "day"
