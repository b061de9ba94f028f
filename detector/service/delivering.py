"""Delivers the outbox: a worker for each channel, so that none waits for another."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

from detector.errors import DeliveryError, StoreError
from detector.notify.limits import UNLIMITED
from detector.notify.outbox import deliver_channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector.domain import Notification
    from detector.notify.limits import RateLimit
    from detector.notify.outbox import FailedDelivery, Notifier, Writer
    from detector.notify.retry import RetryPolicy
    from detector.store.outbox import StoredOutbox

# How soon a new notification is noticed.
_POLL_SECONDS = 0.25
# What is due but may not be taken is another process', waits behind a retry, or is over the limit.
_HELD_SECONDS = 1.0
_STORE_AWAY_SECONDS = 2.0
# How soon it is noticed that another process of this machine has died with messages under way.
_ABANDONED_SECONDS = 5.0
_LAST_SECONDS = 0.8


class Faults(Protocol):
    """Where delivery says what is wrong."""

    def fault(self, message: str) -> None:
        """Something is wrong; delivery goes on."""


class Delivery:
    """The workers of all channels, and what wakes them.

    Args:
        outbox: shared with any number of other processes.
        notifiers: the channels, by name.
        limits: the most messages that they take, by name; of others there is no limit.
        policy: when what failed is tried again.
        stop: ends it.
        faults: told of each attempt that failed.
        writer: writes the messages of alerts; None: of what stands in them alone.
    """

    def __init__(
        self,
        outbox: StoredOutbox,
        notifiers: Mapping[str, Notifier],
        limits: Mapping[str, RateLimit],
        policy: RetryPolicy,
        stop: Event,
        faults: Faults,
        writer: Writer | None = None,
    ) -> None:
        self._writer = writer
        self._outbox, self._policy, self._stop, self._faults = outbox, policy, stop, faults
        self._workers = {
            name: _Worker(self, name, notifier, limits.get(name, UNLIMITED)) for name, notifier in notifiers.items()
        }

    def run(self) -> None:
        """Looks for what is due, and wakes its channel's worker, until told to stop.

        Raises:
            DeliveryError: a worker has ended by itself.
        """
        for worker in self._workers.values():
            worker.start()
        looked = -_ABANDONED_SECONDS
        while not self._stop.is_set():
            for worker in self._workers.values():
                if not worker.is_alive():
                    raise DeliveryError(f"{worker.name} has ended by itself")
            try:
                if time.monotonic() - looked >= _ABANDONED_SECONDS:
                    self._outbox.free_abandoned(_now())
                    looked = time.monotonic()
                for channel in self._outbox.due_channels(_now()):
                    if channel in self._workers:
                        self._workers[channel].wake.set()
                    else:
                        self.deliver(channel, None, UNLIMITED)
            except StoreError as fault:
                self._faults.fault(f"{fault.message}; delivery waits")
                self._stop.wait(_STORE_AWAY_SECONDS)
            self._stop.wait(_POLL_SECONDS)
        # What was just taken is marked, so that it is not sent again at the next start; none that hangs is waited for.
        until = time.monotonic() + _LAST_SECONDS
        for worker in self._workers.values():
            worker.join(max(0, until - time.monotonic()))

    def deliver(self, channel: str, notifier: Notifier | None, limit: RateLimit) -> bool:
        """Sends what may be sent on one channel; whether anything was tried.

        Raises:
            StoreError: the database is away.
        """
        done = deliver_channel(
            self._outbox,
            channel,
            notifier,
            clock=_now,
            policy=self._policy,
            limit=limit,
            writer=self._writer,
            stopping=self._stop.is_set,
        )
        if (failure := done.failure) is not None:
            first, *others = failure.notifications
            told = _named(first) + (f" and {len(others)} more" if others else "")
            self._faults.fault(f"{told} could not be sent to {channel}: {failure.error}; {_fate(failure)}")
        return bool(done.delivered or failure)

    def serve(self, channel: str, wake: Event, notifier: Notifier, limit: RateLimit) -> None:
        """What the worker of a channel does."""
        while not self._stop.is_set():
            if not wake.wait(_POLL_SECONDS):
                continue
            wake.clear()
            try:
                if not self.deliver(channel, notifier, limit):
                    self._stop.wait(_HELD_SECONDS)
            except StoreError as fault:
                self._faults.fault(f"{fault.message}; the delivery to {channel} waits")
                self._stop.wait(_STORE_AWAY_SECONDS)


class _Worker(Thread):
    """One channel's thread. A channel that hangs must not hold up the end: what was under way is sent again."""

    def __init__(self, delivery: Delivery, channel: str, notifier: Notifier, limit: RateLimit) -> None:
        self.wake = Event()
        super().__init__(
            target=delivery.serve,
            name=f"delivery to {channel}",
            daemon=True,
            args=(channel, self.wake, notifier, limit),
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _fate(failure: FailedDelivery) -> str:
    if not failure.dead:
        return "it is tried again"
    if len(failure.dead) == len(failure.notifications):
        return "given up"
    return f"alert {', '.join(str(each.alert_id) for each in failure.dead)} is given up, the rest is tried again"


def _named(notification: Notification) -> str:
    return f"alert {notification.alert_id}" if notification.notice_id is None else f"the {notification.reason}"
