"""Delivers what is due: at least once, in order for each channel, no channel waiting for another's recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from detector.errors import DeliveryError
from detector.notify.message import Message, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from detector.domain import Alert, Notification
    from detector.notify.retry import RetryPolicy


class Outbox(Protocol):
    """Notifications and what is known of their delivery. Each call is whole, and kept when it returns."""

    def due_channels(self, now: datetime) -> Sequence[str]:
        """The channels for which something is due."""

    def claim(
        self, channel: str, *, now: datetime, leased_until: datetime, patience: int
    ) -> tuple[Notification, Alert] | None:
        """Takes the channel's next notification for this process alone until `leased_until`."""

    def mark_delivered(self, notification_id: int, *, attempts: int, now: datetime) -> None:
        """The channel has taken it."""

    def mark_failed(self, notification_id: int, *, attempts: int, error: str, next_attempt_at: datetime) -> None:
        """It is tried again later."""

    def mark_dead(self, notification_id: int, *, attempts: int, error: str) -> None:
        """It is not tried again."""


class Notifier(Protocol):
    """One channel."""

    def send(self, message: Message) -> None:
        """Hands `message` over; returns once the other side has taken it.

        Raises:
            DeliveryError: with the reason, which holds no secret.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDelivery:
    """An attempt that failed."""

    notification: Notification
    error: str
    dead: bool
    """It was the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What one pass over the outbox did."""

    delivered: int
    failures: tuple[FailedDelivery, ...]


def deliver_due(
    outbox: Outbox,
    notifiers: Mapping[str, Notifier],
    *,
    clock: Callable[[], datetime],
    policy: RetryPolicy,
    stopping: Callable[[], bool] = lambda: False,
) -> DeliveryReport:
    """Sends until nothing is due any more.

    Channels take turns, one notification each; a channel that fails is left for the next pass, so that it costs the
    others the time of one attempt.

    Args:
        notifiers: the channels, by name.
        clock: the present time, aware.
        stopping: asked before each attempt; when true, the pass ends early.

    Raises:
        StoreError: the database is away. What was under way comes again when its lease ends.
    """
    delivered = 0
    failures: list[FailedDelivery] = []
    turns = list(outbox.due_channels(clock()))
    while turns and not stopping():
        channel = turns.pop(0)
        now = clock()
        claimed = outbox.claim(channel, now=now, leased_until=now + policy.lease, patience=policy.patience)
        if claimed is None:
            continue
        notification, alert = claimed
        attempts = notification.attempts + 1
        try:
            _send(notifiers.get(channel), channel, render(alert, notification.reason))
        except DeliveryError as fault:
            failures.append(_failed(outbox, notification, attempts, fault.message, clock(), policy))
        else:
            outbox.mark_delivered(notification.notification_id, attempts=attempts, now=clock())
            delivered += 1
            turns.append(channel)
    return DeliveryReport(delivered=delivered, failures=tuple(failures))


def _send(notifier: Notifier | None, channel: str, message: Message) -> None:
    if notifier is None:
        raise DeliveryError(f"there is no channel {channel!r} in the configuration")
    notifier.send(message)


def _failed(
    outbox: Outbox, notification: Notification, attempts: int, error: str, now: datetime, policy: RetryPolicy
) -> FailedDelivery:
    again = policy.next_attempt(notification, attempts=attempts, now=now)
    if again is None:
        outbox.mark_dead(notification.notification_id, attempts=attempts, error=error)
    else:
        outbox.mark_failed(notification.notification_id, attempts=attempts, error=error, next_attempt_at=again)
    return FailedDelivery(notification=notification, error=error, dead=again is None)
