"""What is left of snapshots that were given up, until the next one has told of it."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from detector.collector.frame import health_as_json, health_from
from detector.domain import CaptureHealth, Losses

if TYPE_CHECKING:
    from detector.domain import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What is left of snapshots that were given up: what the next one has to say of them.

    Their numbers are those from `first` to `last`, without exception.
    """

    first: int
    last: int
    losses: Losses
    start: datetime | None = None
    """Of the first of them; None, as `health`, if it cannot be read any more."""
    health: CaptureHealth | None = None

    def __add__(self, later: GivenUp) -> GivenUp:
        healths = [each.health for each in (self, later) if each.health is not None]
        return GivenUp(
            first=min(self.first, later.first),
            last=max(self.last, later.last),
            losses=self.losses + later.losses,
            start=self.start or later.start,
            health=sum(healths[1:], healths[0]) if healths else None,
        )

    def told_by(self, heir: Snapshot) -> Snapshot:
        """The next snapshot, which covers their time too."""
        return replace(
            heir,
            start=self.start or heir.start,
            losses=self.losses + heir.losses,
            health=self.health + heir.health if self.health else heir.health,
        )

    def as_bytes(self) -> bytes:
        """For `from_bytes`: JSON with a checksum before it."""
        text = json.dumps(
            {
                "first": self.first,
                "last": self.last,
                "losses": self.losses.nonzero(),
                "start": self.start.isoformat() if self.start else None,
                "health": health_as_json(self.health) if self.health else None,
            }
        ).encode()
        return b"%08x " % zlib.crc32(text) + text

    @classmethod
    def from_bytes(cls, raw: bytes) -> GivenUp | None:
        """What `as_bytes` gave; None: it is not whole."""
        crc, _, text = raw.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            return None
        values = json.loads(text)
        return cls(
            first=values["first"],
            last=values["last"],
            losses=Losses(**values["losses"]),
            start=datetime.fromisoformat(values["start"]) if values["start"] else None,
            health=health_from(values["health"]) if values["health"] else None,
        )
