"""A worker for each channel."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

from detector.domain import NotificationState
from detector.notify.limits import RateLimit
from detector.service.delivering import Delivery
from detector.store.outbox import StoredOutbox
from tests.notify.samples import POLICY, Receiver, enqueue, entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from detector.notify.message import Message
    from detector.notify.outbox import Notifier


@dataclass
class Faults:
    """Keeps what is said."""

    said: list[str] = field(default_factory=list)

    def fault(self, message: str) -> None:
        """Keeps it."""
        self.said.append(message)


@dataclass
class Hanging(Receiver):
    """Takes nothing until it is let go."""

    free: Event = field(default_factory=Event)

    takes_pictures = False
    shows_html = False

    def send(self, message: Message) -> None:
        """Waits."""
        self.free.wait(20)
        super().send(message)


def run(engine: Engine, stop: Event, faults: Faults, **notifiers: Notifier) -> Thread:
    """Delivers in the background."""
    delivery = Delivery(StoredOutbox(engine), notifiers, {"mail": RateLimit(per_minute=100)}, POLICY, stop, faults)
    thread = Thread(target=delivery.run, daemon=True)
    thread.start()
    return thread


def wait_for(holds: Callable[[], bool]) -> None:
    """Fails after ten seconds."""
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_channel_that_hangs_delays_no_other(sqlite_engine: Engine) -> None:
    """While one waits for its service, everything arrives at the others; afterwards at it too, in order."""
    titles = [f"Scan {number}" for number in range(5)]
    enqueue(sqlite_engine, channels=("hanging", "mail", "gone"), titles=titles)
    stop, faults = Event(), Faults()
    hanging, mail = Hanging(), Receiver()
    thread = run(sqlite_engine, stop, faults, hanging=hanging, mail=mail)
    try:
        wait_for(lambda: len(mail.titles) == 5)
        wait_for(lambda: bool(faults.said))
        assert hanging.titles == []
        hanging.free.set()
        wait_for(lambda: len(hanging.titles) == 5)
    finally:
        stop.set()
        thread.join()
    assert hanging.titles == mail.titles == [f"[high] bastion-1: {title}" for title in titles]
    assert faults.said[0].startswith("alert 1 could not be sent to gone: there is no channel 'gone'")
    assert faults.said[0].endswith("; it is tried again")
    left = {each.channel for each in entries(sqlite_engine) if each.state is NotificationState.PENDING}
    assert left == {"gone"}


def test_two_share_an_outbox(engine: Engine) -> None:
    """Two processes' workers deliver each notification once, in the order of its channel."""
    enqueue(engine, channels=("mail", "slack"), titles=[f"Scan {number}" for number in range(20)])
    stop, faults = Event(), Faults()
    mail, slack = Receiver(), Receiver()
    threads = [run(engine, stop, faults, mail=mail, slack=slack) for _ in range(2)]
    try:
        wait_for(lambda: all(each.state is NotificationState.DELIVERED for each in entries(engine)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for receiver in (mail, slack):
        assert receiver.titles == [f"[high] bastion-1: Scan {number}" for number in range(20)]
    assert faults.said == []


def test_it_ends_at_once_beside_a_channel_that_hangs(sqlite_engine: Engine) -> None:
    """What was under way stays in the outbox."""
    enqueue(sqlite_engine)
    stop, hanging = Event(), Hanging()
    thread = run(sqlite_engine, stop, Faults(), mail=hanging)
    wait_for(lambda: entries(sqlite_engine)[0].leased_until is not None)
    stop.set()
    thread.join(timedelta(seconds=2).total_seconds())
    assert not thread.is_alive()
    assert entries(sqlite_engine)[0].state is NotificationState.PENDING
    hanging.free.set()
