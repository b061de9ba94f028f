"""`[alerts]`: from findings to messages."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from detector.config_section import Section
from detector.domain import Severity


class CoveredUpTo(StrEnum):
    """The most severe rules that are not told by themselves of what an alert of a more severe rule tells."""

    NOTHING = "nothing"
    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def severity(self) -> Severity | None:
        """None: each rule is told by itself."""
        return None if self is CoveredUpTo.NOTHING else Severity(self.value)


class Alerts(Section, frozen=True):
    """From findings to messages."""

    cooldown_seconds: Annotated[float, msgspec.Meta(ge=0, le=30 * 86400)] = 3600.0
    """Findings with the same fingerprint that follow one another within this time are one alert, unless their rule says
    otherwise."""
    group_wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """A new alert is told after this time, with what belongs to it by then."""
    repeat_interval_seconds: Annotated[float, msgspec.Meta(ge=0, le=30 * 86400)] = 14_400.0
    """An alert that goes on is told again after this time. 0: it is not."""
    resolve_after_seconds: Annotated[float, msgspec.Meta(ge=1, le=30 * 86400)] = 900.0
    """An alert is resolved when it was quiet for this time, or for its cooldown if that is shorter."""
    thread_seconds: Annotated[float, msgspec.Meta(ge=0, le=30 * 86400)] = 14_400.0
    """Alerts of one actor that follow one another within this time are one thread. 0: none are."""
    covered_up_to: CoveredUpTo = CoveredUpTo.LOW
    """What a rule of at most this severity finds, and scores, is told by the alert of a more severe rule that has all
    of its rows. "nothing": each rule tells of it by itself."""
