"""How many messages a channel may be sent, and when several notifications share one: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.config import Channel
    from detector.domain import Backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """The most messages that a channel takes."""

    per_minute: int = 0
    """0: as many as come."""
    per_hour: int = 0

    @classmethod
    def from_settings(cls, channel: Channel) -> RateLimit:
        """That of a configured channel."""
        return cls(per_minute=channel.messages_per_minute, per_hour=channel.messages_per_hour)

    def share(self, backlog: Backlog) -> int:
        """How many of the waiting notifications the next message tells of; 0: there is no message now.

        While the limit leaves each a message of its own, each has one. When more wait than messages are left, they are
        told together, so that all of them arrive as soon as they may.
        """
        left = self.left(backlog)
        if left is None or backlog.waiting <= left:
            return 1
        return backlog.waiting if left else 0

    def left(self, backlog: Backlog) -> int | None:
        """How many messages may be sent now; None: any number."""
        limits = ((self.per_minute, backlog.last_minute), (self.per_hour, backlog.last_hour))
        return min((max(0, limit - sent) for limit, sent in limits if limit), default=None)


UNLIMITED = RateLimit()
