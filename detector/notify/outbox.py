"""Delivers what is due on one channel: at least once, in order, within the channel's limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from detector.domain import Alert, Notice
from detector.errors import OF_VALUES, DeliveryError
from detector.notify.briefing import Briefing
from detector.notify.limits import UNLIMITED, RateLimit
from detector.notify.message import Message, render
from detector.notify.notices import render_notice
from detector.notify.together import fitting, render_together
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from detector.domain import Backlog, Notification
    from detector.notify.retry import RetryPolicy

_REASON_LIMIT = 200
# A message that has failed so often with its chart is sent without.
_ATTEMPTS_WITH_CHART = 3


class Outbox(Protocol):
    """Notifications and what is known of their delivery. Each call is whole, and kept when it returns."""

    def claim(
        self,
        channel: str,
        *,
        now: datetime,
        leased_until: datetime,
        patience: int,
        share: Callable[[Backlog], int] | None = None,
        fitting: Callable[[Sequence[tuple[Notification, Alert]]], int] = len,
        delivered: Sequence[int] = (),
    ) -> list[tuple[Notification, Alert | Notice]]:
        """Takes the channel's next notifications, for one message, for this process alone until `leased_until`; and
        says at once, as `mark_delivered` does, that those before were taken.
        """

    def mark_delivered(self, notification_ids: Sequence[int], *, now: datetime, chart_fault: str | None = None) -> None:
        """The channel has taken a message with all of them; without its chart, if there is a fault."""

    def mark_failed(
        self,
        notification_ids: Sequence[int],
        *,
        leased_until: datetime,
        error: str,
        now: datetime,
        next_attempt_at: datetime,
    ) -> None:
        """They are tried again later."""

    def mark_dead(self, notification_ids: Sequence[int], *, leased_until: datetime, error: str, now: datetime) -> None:
        """They are not tried again."""


class Notifier(Protocol):
    """One channel."""

    @property
    def takes_pictures(self) -> bool:
        """Whether a message's chart is sent with it."""

    @property
    def shows_html(self) -> bool:
        """Whether it shows a message's HTML, which may have charts of its own."""

    def send(self, message: Message) -> str | None:
        """Hands `message` over; returns once the other side has taken it: what kept its chart from going with it, if
        anything did.

        Raises:
            DeliveryError: with the reason, which holds no secret.
        """


class Writer(Protocol):
    """Writes messages."""

    def write(self, alert: Alert, reason: str, *, chart: bool) -> Message:
        """The message of an alert.

        Args:
            reason: why it is sent.
            chart: whether the channel takes a picture; without one the message says why, if one belongs to it.

        Raises:
            StoreError: the database is away.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDelivery:
    """An attempt that failed."""

    notifications: tuple[Notification, ...]
    """Those that the message told of."""
    error: str
    dead: tuple[Notification, ...]
    """Those of them for which it was the last attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What one pass over a channel's part of the outbox did."""

    delivered: int
    """Notifications."""
    failure: FailedDelivery | None = None


def deliver_channel(
    outbox: Outbox,
    channel: str,
    notifier: Notifier | None,
    *,
    clock: Callable[[], datetime],
    policy: RetryPolicy,
    limit: RateLimit = UNLIMITED,
    writer: Writer | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> DeliveryReport:
    """Sends on one channel until nothing may be sent any more, or an attempt fails.

    Args:
        notifier: the channel; None: the configuration has none of that name.
        clock: the present time, aware.
        limit: the most messages that the channel takes. What is over it is told together.
        writer: writes the messages of single alerts; None: of what stands in the alert alone, without a chart.
        stopping: asked before each attempt; when true, the pass ends early.

    Raises:
        StoreError: the database is away. What was under way comes again when its lease ends.
    """
    delivered, taken = 0, list[int]()
    share = None if limit == UNLIMITED else limit.share
    while not stopping():
        now = clock()
        lease = now + policy.lease
        claimed = outbox.claim(
            channel,
            now=now,
            leased_until=lease,
            patience=policy.patience,
            share=share,
            fitting=fitting,
            # With the next ones: each transaction waits for the disk.
            delivered=taken,
        )
        taken = []
        if not claimed:
            break
        try:
            chart_fault = _send(notifier, channel, claimed, writer or _Plain())
        except DeliveryError as fault:
            failure = _failed(outbox, [each for each, _ in claimed], lease, fault.message, clock(), policy)
            return DeliveryReport(delivered=delivered, failure=failure)
        taken = [each.notification_id for each, _ in claimed]
        delivered += len(taken)
        if chart_fault is not None:
            outbox.mark_delivered(taken, now=clock(), chart_fault=chart_fault)
            taken = []
    if taken:
        outbox.mark_delivered(taken, now=clock())
    return DeliveryReport(delivered=delivered)


class _Plain:
    """Writes what stands in the alert."""

    def write(self, alert: Alert, reason: str, *, chart: bool) -> Message:  # noqa: ARG002 - there is none
        """The message of an alert."""
        return render(Briefing(alert=alert), reason)


def _send(
    notifier: Notifier | None,
    channel: str,
    claimed: Sequence[tuple[Notification, Alert | Notice]],
    writer: Writer,
) -> str | None:
    """See `_told`; a row that somebody has changed, or a mistake of ours, is a fault of this message alone."""
    try:
        return _told(notifier, channel, claimed, writer)
    except OF_VALUES as fault:
        why = f"{type(fault).__name__}: {visible(str(fault), _REASON_LIMIT)}"
        raise DeliveryError(f"its message could not be written: {why}") from fault


def _told(
    notifier: Notifier | None,
    channel: str,
    claimed: Sequence[tuple[Notification, Alert | Notice]],
    writer: Writer,
) -> str | None:
    """What kept the message's chart from going with it, if anything did."""
    if notifier is None:
        raise DeliveryError(f"there is no channel {channel!r} in the configuration")
    notification, told = claimed[0]
    if isinstance(told, Notice):
        message = render_notice(told, chart=notifier.takes_pictures and not notifier.shows_html)
        return notifier.send(message) or message.chart_fault
    if len(claimed) > 1:
        return notifier.send(render_together([(each, alert) for each, alert in claimed if isinstance(alert, Alert)]))
    # The chart may be what the other side does not take.
    burden = notification.attempts >= _ATTEMPTS_WITH_CHART
    message = writer.write(told, notification.reason, chart=notifier.takes_pictures and not burden)
    fault = notifier.send(message) or message.chart_fault
    if burden and notifier.takes_pictures:
        return fault or f"left out, since the message had failed {notification.attempts} times"
    return fault if notifier.takes_pictures else None


def _failed(
    outbox: Outbox,
    notifications: Sequence[Notification],
    lease: datetime,
    error: str,
    now: datetime,
    policy: RetryPolicy,
) -> FailedDelivery:
    next_attempts = {each: policy.next_attempt(each, attempts=each.attempts + 1, now=now) for each in notifications}
    dead = tuple(each for each, again in next_attempts.items() if again is None)
    tried = {each: again for each, again in next_attempts.items() if again is not None}
    if dead:
        outbox.mark_dead([each.notification_id for each in dead], leased_until=lease, error=error, now=now)
    if tried:
        # Those of one message come back together, and in order.
        outbox.mark_failed(
            [each.notification_id for each in tried],
            leased_until=lease,
            error=error,
            now=now,
            next_attempt_at=max(tried.values()),
        )
    return FailedDelivery(notifications=tuple(notifications), error=error, dead=dead)
