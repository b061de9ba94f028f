"""Lengths of time, as rule files write them."""

from __future__ import annotations

from datetime import timedelta
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
