"""Sees to it that somebody else is told of alerts that nobody has acknowledged in time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.alerts import escalation
from detector.store.engine import reading, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine

    from detector.config_escalations import Escalation

_LOOK_SECONDS = 1.0


class Escalating:
    """Looks every second, if anything is to be escalated at all. Any number of detectors may do so."""

    def __init__(
        self,
        engine: Engine,
        escalations: Sequence[Escalation],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine, self._escalations, self._clock = engine, escalations, clock
        self._looked = float("-inf")

    def look(self) -> None:
        """Tells what is to be told.

        Raises:
            StoreError: the database is away; it is told next time.
        """
        if not self._escalations or time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with reading(self._engine) as connection:
            wanted = escalation.outlook(connection, self._escalations, self._clock())
        if not wanted.is_empty:
            with writing(self._engine) as connection:
                escalation.advance(connection, self._escalations, self._clock())
