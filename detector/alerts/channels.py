"""Which channels are told of an alert, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert

from detector.domain import NotificationState, Severity
from detector.store.tables import notifications

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from detector.alerts.policy import Decision
    from detector.alerts.standing import Standing

BELOW = "below the channel's severity"
NOT_NAMED = "the rule names other channels"
# Not the end of the snapshot: a host whose clock is ahead would hold up its channel for all others.
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPolicy:
    """Which alerts a channel is sent."""

    name: str
    min_severity: Severity

    def accepts(self, severity: Severity) -> bool:
        """Whether alerts of `severity` are sent here."""
        return severity.rank >= self.min_severity.rank

    def refuses(self, severity: Severity, named: Sequence[str] | None) -> str | None:
        """Why an alert is not sent here; None: it is.

        Args:
            severity: of the alert.
            named: the channels that its rule names, whatever they accept otherwise; None: it names none.
        """
        if named is not None:
            return None if self.name in named else NOT_NAMED
        return None if self.accepts(severity) else BELOW


def write(
    connection: Connection,
    channels: Iterable[ChannelPolicy],
    told: Mapping[int, tuple[Standing, Decision]],
    now: datetime,
) -> None:
    """Writes to the outbox what is sent of alerts, by their numbers, and what is withheld."""
    rows = [row for alert_id, (state, decision) in told.items() for row in _rows(channels, alert_id, state, decision)]
    if rows:
        connection.execute(insert(notifications), [{**row, "created_at": now} for row in rows])


def _rows(
    channels: Iterable[ChannelPolicy], alert_id: int, state: Standing, decision: Decision
) -> Iterator[dict[str, Any]]:
    for channel in channels:
        refusal = channel.refuses(state.severity, state.channels)
        yield {
            "alert_id": alert_id,
            "channel": channel.name,
            "reason": refusal or decision.value,
            "state": NotificationState.WITHHELD if refusal else NotificationState.PENDING,
            "attempts": 0,
            "next_attempt_at": _AT_ONCE,
        }
