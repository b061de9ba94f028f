"""What becomes of incidents, silences included, and of their alerts by that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.alerts.policy import Decision, silenced
from detector.domain import AlertState

if TYPE_CHECKING:
    from datetime import datetime

    from detector.alerts.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of an incident, silences included."""

    decision: Decision
    silence: int | None = None

    @property
    def sends(self) -> bool:
        """Whether people are told."""
        return self.decision.sends and self.silence is None

    @property
    def reason(self) -> str:
        """As it is stored and shown."""
        return self.decision.value if self.silence is None else silenced(self.silence)


def moved(state: Standing, verdict: Verdict, magnitude: int, now: datetime) -> Standing:
    """An alert after a verdict about its incident."""
    if verdict.decision is Decision.WAITING:
        return state._replace(state=AlertState.WAITING, notified_magnitude=magnitude)
    # What a person had taken on, or resolved, is not what it is now.
    anew = verdict.decision is Decision.RAISED or state.resolved_by is not None
    told: dict[str, Any] = {}
    if verdict.silence is not None:
        told = {"silenced_by": verdict.silence}
    elif verdict.sends:
        told = {"notified_magnitude": magnitude, "notified_at": now, "silenced_by": None}
    if not told and not anew and state.state is AlertState.OPEN:
        # It goes on, as nearly all do that are known.
        return state
    return state._replace(
        state=AlertState.OPEN,
        resolved_at=None,
        resolved_by=None,
        acknowledged_at=None if anew else state.acknowledged_at,
        acknowledged_by=None if anew else state.acknowledged_by,
        **told,
    )
