"""Three users scan all ports, each minute anew, for an hour: the alerts, the messages, and whether anything else waits.

BENCH_SNAPSHOTS (360) snapshots of ten seconds with a sixth of BENCH_PORTS (65,535) for each user, after an hour of
ordinary ones; in the middle another user does something. When snapshots come is simulated; detection and delivery take
as long as they take, by the processor's time, since nothing else is to run on a machine of that kind. It takes an hour.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from msgspec import structs
from sqlalchemy import select

from benchmarks.figures import Figure
from detector.config import Channel, Models, Settings
from detector.notify.apprise_notifier import AppriseNotifier
from detector.notify.outbox import deliver_channel
from detector.notify.retry import RetryPolicy
from detector.pipeline import STAGES, detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.service.detecting import build_stages
from detector.service.training import train_host
from detector.store.engine import open_store, reading
from detector.store.migrating import upgrade
from detector.store.outbox import StoredOutbox
from detector.store.tables import alerts
from tests.builders import START, Recorder, count
from tests.notify.servers import MailServer, part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import EmailMessage

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

_SNAPSHOTS = int(os.environ.get("BENCH_SNAPSHOTS", "360"))
_INTERVAL = timedelta(seconds=10)
_ORDINARY = 360
_PORTS = int(os.environ.get("BENCH_PORTS", "65535"))
_OF_SCAN = 6
_USERS = ("alice", "bob", "carol")
_OTHER = "dave"
_MIDDLE = _SNAPSHOTS // 2
_SETTINGS = Settings(models=Models(burn_in_hours=0.5))
_POLICY = RetryPolicy.from_settings(_SETTINGS.notify)


def measure() -> Iterator[Figure]:
    """With the models, the shipped rules and a real mail server."""
    with tempfile.TemporaryDirectory() as folder, MailServer().running() as server:
        engine = open_store(f"sqlite:///{folder}/detector.db")
        upgrade(engine)
        hour = _Hour(engine, server)
        hour.ordinary()
        hour.scan()
        yield from hour.figures(Path(folder))
        engine.dispose()


class _Hour:
    """One host, and when people knew what it did."""

    def __init__(self, engine: Engine, server: MailServer) -> None:
        self._engine, self._server = engine, server
        self._recorder = Recorder(engine, interval=_INTERVAL, unpacked=False)
        settings = structs.replace(_SETTINGS, channels=(Channel(name="mail", url=server.url),))
        self._stages = build_stages(settings, load_rules(settings.rule_folders).ruleset)
        self._notifier = AppriseNotifier("mail", server.url, 15)
        self._random = Random(1)
        self._took: list[float] = []
        self._by_the_clock: list[Mapping[str, float]] = []
        self._waited: list[float] = []
        self._other_told = float("inf")
        # When detection is through with all that came, in seconds of the hour.
        self._free = 0.0

    def ordinary(self) -> None:
        """An hour in which people work."""
        for _ in range(_ORDINARY):
            self._recorder.snapshot(*self._work())
            (host_id,) = hosts_behind(self._engine)
            detect_next(self._engine, host_id, self._stages)
        train_host(self._engine, host_id, _SETTINGS.models)
        self._deliver()
        self._server.received.clear()

    def scan(self) -> None:
        """The hour of the scans."""
        for number in range(_SNAPSHOTS):
            other = [count("93.184.216.34", 6667, user=_OTHER, login_user=_OTHER, executable="/usr/bin/irssi")]
            self._recorder.snapshot(*self._work(), *_scans(number), *(other if number == _MIDDLE else []))
            came = (number + 1) * _INTERVAL.total_seconds()
            start = max(self._free, came)
            (host_id,) = hosts_behind(self._engine)
            began = time.process_time()
            detected = detect_next(self._engine, host_id, self._stages)
            took = time.process_time() - began
            self._free = start + took
            assert detected is not None
            self._deliver()
            told = start + time.process_time() - began
            self._took.append(took)
            self._by_the_clock.append(detected.took)
            self._waited.append(start - came)
            if number >= _MIDDLE and any(_OTHER in part(mail, "plain") for mail in self._mails):
                self._other_told = min(self._other_told, told - (_MIDDLE + 1) * _INTERVAL.total_seconds())
            if number % _OF_SCAN == 0:
                print(f"  snapshot {number + 1}: {took:.1f} s, {len(self._mails)} mails", file=sys.stderr, flush=True)

    def figures(self, folder: Path) -> Iterator[Figure]:
        """What came of it."""
        with reading(self._engine) as connection:
            columns = alerts.c
            opened = select(columns.rule_title, columns.attempted).where(
                columns.opened_at > START + _ORDINARY * _INTERVAL
            )
            found = connection.execute(opened).all()
        titles = Counter(title for title, _ in found)
        note = ", ".join(f"{title}: {number}" for title, number in titles.items())
        yield Figure("alerts of three scans of all ports for an hour, and of another user", len(found), "", note)
        yield Figure("messages of them", len(self._mails), "")
        yield Figure("from the end of its snapshot to the message of another user's alert", self._other_told, "s")
        clock = ", ".join(f"{name} {median(each[name] for each in self._by_the_clock):.2f}" for name in STAGES)
        yield Figure("a snapshot of them, median", median(self._took), "s", f"by the clock: {clock}")
        yield Figure("the longest", max(self._took), "s")
        yield Figure("the longest that a snapshot waited for detection", max(self._waited), "s")
        yield Figure("how long the last one waited", self._waited[-1], "s")
        yield Figure("the database at the end", sum(each.stat().st_size for each in folder.iterdir()) / 1e6, "MB")

    @property
    def _mails(self) -> list[EmailMessage]:
        return self._server.received

    def _deliver(self) -> None:
        outbox = StoredOutbox(self._engine)
        deliver_channel(outbox, "mail", self._notifier, clock=lambda: datetime.now(UTC), policy=_POLICY)

    def _work(self) -> list[ConnectionCount]:
        return [
            count(f"10.1.0.{self._random.randrange(20)}", port, user=user, login_user=user)
            for user, port in zip((*_USERS, _OTHER), (22, 443, 22, 443), strict=True)
        ]


def _scans(number: int) -> list[ConnectionCount]:
    """What the three do in one snapshot."""
    part = _PORTS // _OF_SCAN + 1
    first = 1 + number % _OF_SCAN * part
    return [
        count(f"10.0.4.{place}", port, user=user, login_user=user, executable="/usr/bin/nmap", attempted=1, refused=1)
        for place, user in enumerate(_USERS)
        for port in range(first, min(first + part, _PORTS + 1))
    ]
