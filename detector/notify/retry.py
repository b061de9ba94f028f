"""When a failed delivery is tried again, and when it is given up: pure decisions, in wall-clock time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from detector.config import Notify
    from detector.domain import Notification

_LONGEST_WAIT = timedelta(hours=1)
# The share of a wait that differs from one notification to another, so that they do not all come back at once.
_JITTER = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, how long, and in which order."""

    first_wait: timedelta
    give_up_after: timedelta
    lease: timedelta
    """Longer than any attempt takes: a notification whose attempt has not ended by then was left behind."""
    patience: int = 6
    """After so many failures a notification no longer holds up those behind it; before, it is not given up."""

    @classmethod
    def from_settings(cls, settings: Notify) -> RetryPolicy:
        """The policy of a configuration."""
        return cls(
            first_wait=timedelta(seconds=settings.retry_seconds),
            give_up_after=timedelta(hours=settings.give_up_hours),
            lease=timedelta(seconds=60 + 4 * settings.timeout_seconds),
        )

    def wait(self, notification_id: int, attempts: int) -> timedelta:
        """How long to wait after the failed attempt number `attempts` (from 1).

        Doubled after each, at most an hour, less up to a fifth that depends on the notification and the attempt alone.
        """
        # Beyond 2^20 any first wait has long reached the longest; a power of thousands would overflow.
        full = min(self.first_wait * (1 << min(attempts - 1, 20)), _LONGEST_WAIT)
        raw = blake2b(f"{notification_id}:{attempts}".encode(), digest_size=4).digest()
        return full * (1 - _JITTER * int.from_bytes(raw, "big") / 2**32)

    def next_attempt(self, notification: Notification, *, attempts: int, now: datetime) -> datetime | None:
        """When to try again after the failed attempt number `attempts`; None: it is given up.

        What came into the outbox late (detection catches up after a stop) is still tried `patience` times.
        """
        if attempts >= self.patience and now - notification.created_at >= self.give_up_after:
            return None
        return now + self.wait(notification.notification_id, attempts)
