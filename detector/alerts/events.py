"""What happens to alerts beside findings and notifications, in the words that are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.store import bulk
from detector.store.tables import alert_events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

RESOLVED, REOPENED, ALSO_SEEN = "resolved", "reopened", "also seen by"
QUIET = "it has been quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that nobody did: what people do is written by `store.answers`."""

    alert_id: int
    at: datetime
    kind: str
    said: str = ""


def write(connection: Connection, happened: Sequence[Event]) -> None:
    """Keeps them."""
    rows = [(each.alert_id, each.at, each.kind, each.said) for each in happened]
    bulk.add_any(connection, alert_events, ("alert_id", "at", "kind", "said"), rows)
