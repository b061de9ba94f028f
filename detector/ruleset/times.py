"""Lengths of time and ends, as rule files write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from sigma.correlations import SigmaCorrelationTimespan

from detector.ruleset.wording import shown

if TYPE_CHECKING:
    from detector.ruleset.documents import Faults


def read_span(value: Any, what: str, longest: timedelta, faults: Faults, *place: str) -> timedelta | None:
    """A length of time such as 30s, 5m or 2h, which faults call `what`; None when it is refused."""
    if value is None:
        return None
    fault = "is not understood; write one such as 30s, 5m or 2h"
    try:
        seconds = SigmaCorrelationTimespan(value).seconds
        if seconds <= longest.total_seconds():
            return timedelta(seconds=seconds)
        fault = f"is longer than {longest.days} days; shorten it"
    except ValueError:
        # Sigma's own error is one, and so is that of a number of thousands of digits.
        pass
    faults.add(f"the {what} {shown(value)} {fault}", *place)
    return None


def read_until(value: Any, faults: Faults, *place: str | int) -> datetime | None:
    """The end of a day, or a moment, of UTC unless it says otherwise; None when there is none, or it is refused."""
    if value is None:
        return None
    try:
        return end_of(value)
    except (ValueError, OverflowError):
        advice = "write a day such as 2026-12-31, which counts to its end, or a moment such as 2026-12-31T18:00:00Z"
        faults.add(f"until is no time: {shown(value)}; {advice}", *place)
        return None


def end_of(value: Any) -> datetime:
    """What `read_until` reads.

    Raises:
        ValueError: it is no time.
        OverflowError: nor is it one that a computer knows.
    """
    moment = _moment(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value) if "T" in value or " " in value else date.fromisoformat(value)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value + timedelta(days=1), time(0))
    raise ValueError
