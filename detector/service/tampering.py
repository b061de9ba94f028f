"""Has what was found of tampering told, which whoever looks after the database finds."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector import pipeline
from detector.store import tampering
from detector.store.engine import reading

if TYPE_CHECKING:
    from sqlalchemy import Engine

_LOOK_SECONDS = 5.0


class TamperingWatch:
    """Looks now and then whether there is something to tell."""

    def __init__(self) -> None:
        self._looked = -_LOOK_SECONDS

    def tell(self, engine: Engine, stages: pipeline.Stages) -> None:
        """Shows the rules what nobody was told yet.

        Raises:
            StoreError: the database is away.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        with reading(engine) as connection:
            waiting = tampering.waiting(connection)
        for host_id in waiting:
            pipeline.notice_tampering(engine, host_id, stages, now=datetime.now(UTC))
