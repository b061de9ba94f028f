"""Trains forests beside detection, which does not wait for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from detector.errors import ModelError, StoreError
from detector.models import training
from detector.models.estimators import HERE
from detector.store.engine import reading, writing

if TYPE_CHECKING:
    from threading import Event

    from sqlalchemy import Engine

    from detector import config
    from detector.models.estimators import Estimators
    from detector.models.training import Outcome

_ROUND_SECONDS = 5.0
_AWAY_SECONDS = 10.0


class Reporter(Protocol):
    """Where it is said what was trained."""

    def trained(self, message: str) -> None:
        """A forest was trained, and is in force or not."""

    def fault(self, message: str) -> None:
        """Something is wrong; training goes on later."""


class Training:
    """Trains what is due, one host after another, until it is to stop."""

    def __init__(
        self, engine: Engine, settings: config.Models, stop: Event, report: Reporter, estimators: Estimators = HERE
    ) -> None:
        self._engine, self._settings, self._stop, self._report = engine, settings, stop, report
        self._estimators = estimators

    def run(self) -> None:
        """Returns when it is to stop."""
        while not self._stop.wait(_ROUND_SECONDS):
            try:
                self.round()
            except StoreError as fault:
                self._report.fault(f"{fault.message}; training waits")
                self._stop.wait(_AWAY_SECONDS)

    def round(self) -> None:
        """Trains what is due now.

        Raises:
            StoreError: the database is away; what was trained is lost, and is trained again.
        """
        with reading(self._engine) as connection:
            waiting = training.due(connection, self._settings, datetime.now(UTC))
        for host_id, host in waiting:
            if self._stop.is_set():
                return
            outcome = train_host(self._engine, host_id, self._settings, self._estimators)
            if outcome is not None and outcome.version is not None:
                self._report.trained(described(host, outcome))


def train_host(engine: Engine, host_id: int, settings: config.Models, estimators: Estimators = HERE) -> Outcome | None:
    """Trains the forest of a host now, whether it is due or not; None: another worker is at it.

    The database is neither read nor written while it is trained.

    Raises:
        StoreError: the database is away; nothing is changed, and the host's turn comes again in ten minutes.
    """
    now = datetime.now(UTC)
    with writing(engine) as connection:
        until = training.claim(connection, host_id, now)
    if until is None:
        return None
    try:
        with reading(engine) as connection:
            material = training.gather(connection, host_id, settings, estimators)
        trained = training.train(material, now, estimators)
    except ModelError as fault:
        with writing(engine) as connection:
            return training.give_up(connection, host_id, now, fault.message)
    with writing(engine) as connection:
        if not training.is_claimed(connection, host_id, until):
            return None
        return training.finish(connection, material, trained)


def described(host: str, outcome: Outcome) -> str:
    """`bastion-1: forest 3 is in force: …`."""
    if outcome.version is None:
        return f"{host}: no forest was trained: {outcome.reason}"
    state = "in force" if outcome.accepted else "not put in force"
    return f"{host}: forest {outcome.version} is {state}: {outcome.reason}"
