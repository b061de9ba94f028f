"""The dead man's switch: a sign of life, sent only while capture and detection really go on.

A service elsewhere raises the alarm when no sign comes, whatever has stopped: this process, its machine or the network.
Neither a start nor a planned stop says that anything is wrong.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from detector.errors import DeliveryError, StoreError
from detector.store.engine import reading
from detector.store.liveness import liveness

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Event

    from sqlalchemy import Engine

    from detector.config_heartbeat import Heartbeat
    from detector.service.delivering import Faults
    from detector.store.liveness import Liveness

# After so many of its snapshots' lengths without one, and at least so long, a host does not capture.
_LENGTHS = 3
_LEAST = timedelta(seconds=30)
# Detection that is so far behind has stopped, or might as well have.
_BEHIND = timedelta(minutes=5)
# Until everything has started, nothing is said of what is not there yet.
STARTING_SECONDS = 300.0
_TIMEOUT_SECONDS = 15.0


def complaint(hosts: Sequence[Liveness], now: datetime) -> str | None:
    """What is wrong with capture or detection as a whole; None: nothing.

    A single host of several that falls silent is a matter of the rule host_silent.
    """
    if not hosts:
        return "no snapshot is stored yet"
    young = [host for host in hosts if is_capturing(host, now)]
    if not young:
        return f"no snapshot has come for {_minutes(now - max(host.captured_until for host in hosts))}"
    behind = [host for host in young if is_behind(host)]
    if behind:
        return f"detection is more than {_minutes(_BEHIND)} behind with {len(behind)} of {len(young)} hosts"
    return None


def is_capturing(host: Liveness, now: datetime) -> bool:
    """Whether its last snapshot is as young as it should be."""
    return now - host.captured_until <= max(_LEAST, timedelta(seconds=_LENGTHS * host.usual_seconds))


def is_behind(host: Liveness) -> bool:
    """Whether detection has stopped, or might as well have."""
    return host.behind > _BEHIND


class Beating:
    """The thread that gives the sign.

    Args:
        engine: the store, which says what goes on.
        settings: where to, and how often.
        address: of the service, a secret that is in nothing that is said here.
        stop: ends it, without a word.
        faults: told when the sign does not arrive, once while that lasts.
    """

    def __init__(self, engine: Engine, settings: Heartbeat, address: str, stop: Event, faults: Faults) -> None:
        self._engine, self._settings, self._address = engine, settings, address
        self._stop, self._faults = stop, faults
        self._started = time.monotonic()
        self._arrives = True

    def run(self) -> None:
        """A beat at each interval until told to stop."""
        while not self._stop.is_set():
            self.beat(self._complaint())
            self._stop.wait(self._settings.interval_seconds)

    def _complaint(self) -> str | None:
        try:
            with reading(self._engine) as connection:
                return complaint(liveness(connection), datetime.now(UTC))
        except StoreError:
            # What the database says may hold names; the log has it.
            return "the database cannot be read"

    def beat(self, wrong: str | None) -> None:
        """Says that all is well, or what is wrong."""
        if wrong is not None:
            starting = time.monotonic() - self._started < STARTING_SECONDS
            if starting or not self._settings.fail_suffix:
                return
        try:
            _ask(self._address if wrong is None else f"{self._address}{self._settings.fail_suffix}", wrong)
        except DeliveryError as fault:
            if self._arrives:
                self._faults.fault(f"the heartbeat did not arrive: {fault.message}")
            self._arrives = False
        else:
            if not self._arrives:
                self._faults.fault("the heartbeat arrives again")
            self._arrives = True


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the secret in the address to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        """None: it is an error like any other."""


def _ask(address: str, wrong: str | None) -> None:
    request = Request(  # noqa: S310 - http or https: see Heartbeat.address
        address,
        data=None if wrong is None else wrong.encode(),
        headers={"User-Agent": "detector", "Content-Type": "text/plain; charset=utf-8"},
    )
    try:
        with build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_SECONDS):
            pass
    except HTTPError as fault:
        fault.close()
        raise DeliveryError(f"the service answered {fault.code}") from None
    except (OSError, HTTPException, ValueError) as fault:
        # Its text may repeat the address.
        reason = getattr(fault, "reason", fault)
        name = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
        raise DeliveryError(f"no answer: {name}") from None


def _minutes(span: timedelta) -> str:
    return f"{max(1, round(span.total_seconds() / 60))} min"
