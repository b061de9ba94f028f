"""Reads the figures of the store, for whoever asks, and in a thread of its own: a database that hangs must not keep
anybody from being told that it does.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import TYPE_CHECKING

from detector.collector.spool import SpoolState, spool_state
from detector.errors import SpoolError, StoreError
from detector.models.scorer import learning
from detector.service.collecting import SPOOL
from detector.service.heartbeat import complaint
from detector.service.keeping import kept_from
from detector.store import sizes, totals, watched
from detector.store.engine import database_file, reading
from detector.store.filters import known_hosts
from detector.store.liveness import liveness
from detector.store.status import given_up, set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine

    from detector.config import Settings
    from detector.store.liveness import Liveness
    from detector.store.sizes import Size
    from detector.store.watched import AlertFigures, ChannelFigures

# What was read so lately is told again.
_FRESH_SECONDS = 2.0
# Prometheus waits for ten.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The figures of the store at one moment; by host where nothing else is said."""

    took_seconds: float
    totals: Mapping[str, Mapping[str, float]]
    hosts: Sequence[Liveness]
    waiting: Mapping[str, int]
    given_up: Mapping[str, int]
    learnt: Mapping[str, bool]
    held: Mapping[str, int]
    capped: Mapping[str, int]
    refused: Mapping[str, int]
    channels: Mapping[str, ChannelFigures]
    """By channel."""
    alerts: AlertFigures
    replaced_at: datetime | None
    """When a damaged database was last set aside for this one."""
    size: Size
    most_bytes: int
    free_bytes: int | None
    spool: SpoolState | None
    complaint: str | None
    """What is wrong with capture or detection as a whole."""


def sample(engine: Engine, settings: Settings) -> Sample:
    """Reads all of it, in one transaction.

    Raises:
        StoreError: the database is away.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    size, spool = sizes.measure(engine), _spool(settings)
    with reading(engine) as connection:
        alive = liveness(connection)
        return Sample(
            totals=totals.read(connection),
            hosts=alive,
            waiting=watched.waiting_snapshots(connection),
            given_up=given_up(connection),
            learnt={
                host: learning(connection, host_id, settings.models).finished
                for host_id, host in known_hosts(connection).items()
            },
            held=watched.held_in_burn_in(connection),
            capped=watched.capped(connection, now),
            refused=watched.refused_files(connection),
            channels=watched.channel_figures(connection, now),
            alerts=watched.alert_figures(connection, now),
            replaced_at=max((at for at, _ in set_aside(connection)), default=None),
            size=size,
            most_bytes=kept_from(settings, engine).most_bytes,
            free_bytes=_free(engine),
            spool=spool,
            complaint=complaint(alive, now),
            took_seconds=time.monotonic() - began,
        )


def _spool(settings: Settings) -> SpoolState | None:
    with suppress(SpoolError):
        return spool_state(settings.state / SPOOL)
    # It is the collector's alone, where that is another user.
    return None


def _free(engine: Engine) -> int | None:
    path = database_file(engine)
    with suppress(OSError):
        return shutil.disk_usage(path.resolve().parent).free if path is not None else None
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What could be read, or why not."""

    sample: Sample | None
    fault: str = ""


class Sampler:
    """Reads when somebody asks, and what was read a moment ago is told again.

    Args:
        engine: of the store.
        settings: what else there is to look at.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._changed = Condition()
        self._answer, self._answered_at = Answer(None, "nothing was read yet"), float("-inf")
        self._asked = False
        self._thread = Thread(target=self._serve, name="figures", daemon=True)

    def start(self) -> None:
        """Begins to wait for questions."""
        self._thread.start()

    def ask(self) -> Answer:
        """The figures, at most some seconds old."""
        with self._changed:
            asked_at = time.monotonic()
            if asked_at - self._answered_at < _FRESH_SECONDS:
                return self._answer
            self._asked = True
            self._changed.notify_all()
            if self._changed.wait_for(lambda: self._answered_at >= asked_at, _PATIENCE_SECONDS):
                return self._answer
        return Answer(None, f"the database has not answered for {_PATIENCE_SECONDS:.0f} s")

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
                self._asked = False
            try:
                answer = Answer(sample(self._engine, self._settings))
            except StoreError:
                # What the database says may hold names; the log has it.
                answer = Answer(None, "the database cannot be read")
            finally:
                # A connection that is kept would go on with a file that was replaced.
                self._engine.dispose()
            with self._changed:
                self._answer, self._answered_at = answer, time.monotonic()
                self._changed.notify_all()
