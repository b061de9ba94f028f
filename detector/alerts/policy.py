"""What becomes of findings and alerts, and why: pure decisions, with the time as an argument.

Times are data time: the ends of snapshots. A host's clock may be ahead, and be put right; so a time counts as over as
soon as it is that far away, before or behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from detector.domain import AlertState

if TYPE_CHECKING:
    from datetime import datetime

    from detector.domain import Severity

# An incident is told again when it has become this much larger than what was told. Of a thousand connects people know
# that no person made them one by one: that they have become ten thousand is no news, and a scan does that in minutes.
_GROWTH, _LARGE, _GROWTH_OF_LARGE = 10, 1000, 1000


class Decision(StrEnum):
    """What became of a finding. Stored with it and shown, since operators ask why."""

    OPENED = "opened"
    """It is the first of its alert that is told."""
    RAISED = "raised"
    """It is more severe than what its alert was before."""
    GROWN = "grown tenfold"
    """Its alert has grown to ten times what was last told."""
    GROWN_VASTLY = "grown a thousandfold"
    """Its alert was large when it was last told, and has grown to a thousand times that."""
    REOPENED = "reopened"
    """Its alert was resolved, by a person or long after it was told."""
    REPEATED = "repeated"
    """Its alert goes on, and was last told a repeat interval ago."""
    GROUPED = "grouped"
    """It belongs to an alert that was told already."""
    COVERED = "covered by another rule"
    """An alert of its actor, of a more severe rule, has all of its rows, and says that this rule saw them as well."""
    ACKNOWLEDGED = "acknowledged"
    """It would be repeated, but somebody looks after its alert."""
    WAITING = "held by group_wait"
    """Its alert is new: what belongs to it is gathered before it is told."""
    COOLING = "held by cooldown"
    """Its alert was quiet, and has come back soon after it was told."""
    CAPPED = "beyond the alerts of a day"
    """So many alerts of the rule on scores were opened that day: it is held in one more, which was told already."""

    @property
    def sends(self) -> bool:
        """Whether people are told."""
        return self in _SENT


_ONCE = frozenset({Decision.GROUPED, Decision.COOLING, Decision.REOPENED, Decision.REPEATED})
_SENT = frozenset(
    {
        Decision.OPENED,
        Decision.RAISED,
        Decision.GROWN,
        Decision.GROWN_VASTLY,
        Decision.REOPENED,
        Decision.REPEATED,
    }
)


def once_a_day(decision: Decision) -> Decision:
    """The same of the alert that holds what is beyond a day's alerts: it is told again only when it is worse."""
    return Decision.CAPPED if decision in _ONCE else decision


def silenced(silence_id: int) -> str:
    """The reason why nobody is told, though it would be time: a silence."""
    return f"silenced by {silence_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things take; see [alerts] in the configuration."""

    group_wait: timedelta = timedelta(0)
    """From an alert's opening until it is told."""
    repeat_interval: timedelta = timedelta(hours=4)
    """An alert that goes on is told again no sooner; zero: never."""
    resolve_after: timedelta = timedelta(minutes=15)
    """An alert without findings for so long is resolved."""
    thread: timedelta = timedelta(hours=4)
    """Alerts of one actor that follow one another within this time are one thread; zero: none are."""

    def quiet(self, cooldown: timedelta) -> timedelta:
        """How long an alert is open after its last finding: what comes after the cooldown is another alert."""
        return min(self.resolve_after, cooldown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """An alert as it was before a finding came."""

    state: AlertState
    severity: Severity
    told_at: datetime | None
    """When people were last told, or would have been if any channel took it; None: never."""
    told_magnitude: int
    """Its magnitude then (see `Facts.magnitude`)."""
    acknowledged: bool = False
    resolved_by: str | None = None
    """The person who has resolved it; None: nobody."""


def continues(last_end: datetime, *, now: datetime, cooldown: timedelta) -> bool:
    """Whether a finding at `now` belongs to the alert whose last one ended at `last_end`."""
    return abs(now - last_end) <= cooldown


def is_over(since: datetime, *, now: datetime, wait: timedelta) -> bool:
    """Whether a wait that began at `since` has ended."""
    return abs(now - since) >= wait


def decide(before: Before | None, *, severity: Severity, magnitude: int, now: datetime, timing: Timing) -> Decision:
    """What becomes of an incident, once its evidence has been added to its alert; silences and channels aside.

    Args:
        before: its alert until now; None when this incident has opened it.
        severity: of the incident.
        magnitude: of the alert, now.
        now: the end of the snapshot.
        timing: how long things take.
    """
    if before is None:
        return Decision.WAITING if timing.group_wait else Decision.OPENED
    if before.state is AlertState.WAITING:
        return Decision.WAITING
    if before.told_at is None:
        # A silence has kept it from being told.
        return Decision.OPENED
    if severity.rank > before.severity.rank:
        return Decision.RAISED
    if before.told_magnitude >= _LARGE:
        if magnitude >= _GROWTH_OF_LARGE * before.told_magnitude:
            return Decision.GROWN_VASTLY
    elif magnitude >= _GROWTH * max(before.told_magnitude, 1):
        return Decision.GROWN
    repeats = bool(timing.repeat_interval) and is_over(before.told_at, now=now, wait=timing.repeat_interval)
    if before.state is AlertState.RESOLVED:
        if before.resolved_by is not None:
            return Decision.REOPENED
        if before.acknowledged:
            return Decision.ACKNOWLEDGED
        return Decision.REOPENED if repeats else Decision.COOLING
    if repeats:
        return Decision.ACKNOWLEDGED if before.acknowledged else Decision.REPEATED
    return Decision.GROUPED
