"""A week of operation, as fast as it goes: whether anything grows that should not.

Snapshots of 250 rows each ten seconds (BENCH_DAYS, 7) of a host with a day and a week: people come on working days and
meet new addresses, services ask day and night. Each is written, detected, and looked after; forests are trained, and
what alerts there are delivered to the console, all as the service does it, in one process. A day is kept. It goes by
the snapshots' own time, and takes hours of the processor's. What it says at the end of each day goes to the standard
error; the last is compared with the first day that had scores and a whole day behind it, the second. A piece of work
that never changes is timed in between: it says how fast the machine was that day.
"""

from __future__ import annotations

import io
import os
import random
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from math import cos, exp, pi
from pathlib import Path
from statistics import fmean
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from benchmarks.figures import Figure
from benchmarks.memory import pss
from detector import pipeline
from detector.config import Retention, Settings
from detector.domain import CaptureHealth, ConnectionCount, ConnectionKey, Direction, Losses, Protocol, Snapshot
from detector.models.forest_process import ForestProcess
from detector.notify.channels import open_channels
from detector.notify.limits import UNLIMITED
from detector.notify.retry import RetryPolicy
from detector.ruleset.load import load_rules
from detector.service.delivering import Delivery
from detector.service.detecting import build_stages
from detector.service.keeping import Keeping, kept_from
from detector.service.memory import Idle, settle
from detector.service.messages import Messages
from detector.service.training import Training
from detector.store import sizes
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.outbox import StoredOutbox
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import alerts
from tests.builders import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DAYS = float(os.environ.get("BENCH_DAYS", "7"))
_INTERVAL = timedelta(seconds=10)
_ROWS = 250
_A_DAY = 8640
_SERVICES = 400
_PEOPLE = [f"user{user:02}" for user in range(40)]
# Where each of them goes.
_PORTS = (22, 5432, 5433, 3306, 8080, 9200)
# In working hours somebody meets a new address each two minutes or so.
_NEW = 0.08
_TRAINING_EVERY, _DELIVERY_EVERY = 30, 6
_RETENTION = Retention(snapshot_days=1, hourly_days=1, daily_days=1, alert_days=1)


class _Hasty(Event):
    """Nobody has to be given way to: there is nobody else."""

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        return self.is_set()


@dataclass
class _Clock:
    """That of the week, which nobody sets."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Traffic:
    """What the host does, the same each time."""

    chance: random.Random = field(default_factory=lambda: random.Random(11))
    _met: int = 0

    def __post_init__(self) -> None:
        # Each program with a few places of its own: a host on which something sweeps all day is another one.
        self._services = [
            _key(f"10.1.{each >> 8}.{each & 255}", 5432 if each % 3 else 443, f"/opt/{each // 8}/agent", "agent", None)
            for each in range(_SERVICES)
        ]
        self._people = [
            _key(f"10.2.{user}.{place}", _PORTS[place], "/usr/bin/psql" if place else "/usr/bin/ssh", name, name)
            for user, name in enumerate(_PEOPLE)
            for place in range(len(_PORTS))
        ]

    def at(self, moment: datetime) -> Sequence[ConnectionCount]:
        """The 250 rows of the snapshot that begins then."""
        busy = _busy(moment)
        keys = self.chance.sample(self._people, 5 + round(100 * busy))
        if self.chance.random() < _NEW * busy:
            self._met += 1
            met = self._met
            user = _PEOPLE[met % len(_PEOPLE)]
            keys.append(_key(f"93.{met >> 16}.{met >> 8 & 255}.{met & 255}", 443, "/usr/bin/curl", user, user))
        keys += self.chance.sample(self._services, _ROWS - len(keys))
        return [_count(key, 1 + int(self.chance.expovariate(0.5))) for key in keys]


def _busy(moment: datetime) -> float:
    """From 0 to 1: most at two o'clock on working days, a tenth of it at weekends."""
    hours = moment.hour + moment.minute / 60
    day = exp(3 * (cos((hours - 14) * pi / 12) - 1))
    return day if moment.weekday() < 5 else day / 10


def _key(address: str, port: int, executable: str, user: str, login_user: str | None) -> ConnectionKey:
    return ConnectionKey(
        direction=Direction.OUTBOUND,
        protocol=Protocol.TCP,
        remote_address=ip_address(address),
        remote_port=port,
        executable=executable,
        command=executable.rpartition("/")[2],
        user=user,
        login_user=login_user,
    )


def _count(key: ConnectionKey, number: int) -> ConnectionCount:
    return ConnectionCount(key=key, attempted=number, established=number)


@dataclass(frozen=True)
class _Day:
    """What stands at its end, and what its snapshots took on average."""

    memory: float
    files: int
    disk: float
    took: float
    parts: Sequence[float]
    yardstick: float
    alerts: int

    def __str__(self) -> str:
        written, detected, kept, others = (1000 * each for each in self.parts)
        return (
            f"{self.memory:.1f} MB PSS, {self.files} files open, {self.disk / 1e6:.1f} MB on disk, "
            f"{1000 * self.took:.1f} ms a snapshot (written {written:.1f}, detected {detected:.1f}, kept {kept:.1f}, "
            f"trained and delivered {others:.1f}), the yardstick {1000 * self.yardstick:.2f} ms, {self.alerts} alerts"
        )


def measure() -> Iterator[Figure]:
    """Each day, and the last beside the second."""
    days = []
    for number, day in enumerate(_days(), start=1):
        print(f"  day {number}: {day}", file=sys.stderr, flush=True)
        days.append(day)
    first, second, last = days[0], days[min(1, len(days) - 1)], days[-1]
    for name, values, shown in (
        ("memory", [day.memory for day in (first, second, last)], f"{last.memory:.0f} MB PSS"),
        ("files open", [day.files for day in (first, second, last)], f"{last.files}"),
        ("database", [day.disk for day in (first, second, last)], f"{last.disk / 1e6:.0f} MB"),
        ("processor time of a snapshot", [day.took for day in (first, second, last)], f"{1000 * last.took:.0f} ms"),
        (
            "the same, in yardsticks",
            [day.took / day.yardstick for day in (first, second, last)],
            f"{last.took / last.yardstick:.0f}",
        ),
    ):
        note = f"day {len(days)} of day 2; of day 1 {values[2] / values[0]:.2f}; {shown}"
        yield Figure(f"{name} at the end", values[2] / values[1], "", note)


def _yardstick() -> float:
    """Seconds of processor time of rows made, stored and sorted into groups, which nothing of the week touches."""
    before = time.process_time()
    rows = [(number, f"10.1.{number % 7}.{number & 255}", number % 11) for number in range(500)]
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, address TEXT, kind INTEGER)")
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
        groups: dict[str, list[int]] = {}
        for number, address, _ in connection.execute("SELECT * FROM rows ORDER BY kind, address"):
            groups.setdefault(address, []).append(number)
    connection.close()
    return time.process_time() - before


def _days() -> Iterator[_Day]:
    settings = Settings(retention=_RETENTION)
    said, stop = Lines(), _Hasty()
    now = datetime.now(UTC)
    # A Monday, so that all of it is past: what asks the clock for the time finds nothing that is to come.
    start = (now - timedelta(days=now.weekday() + 7 * (1 + _DAYS // 7))).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/detector.db")
        upgrade(engine)
        ruleset = load_rules(settings.rule_folders).ruleset
        forests = ForestProcess()
        stages = build_stages(settings, ruleset, forests)
        clock = _Clock()
        keeping = Keeping(engine, kept_from(settings, engine), stop, said, now=start, running=clock)
        training = Training(engine, settings.models, stop, said, forests)
        ((channel, notifier),) = open_channels(settings, io.StringIO()).items()
        delivery = Delivery(
            StoredOutbox(engine),
            {channel: notifier},
            {},
            RetryPolicy.from_settings(settings.notify),
            stop,
            said,
            Messages(engine, settings, lambda: ruleset, said),
        )
        writer, traffic = SnapshotWriter("bastion-1"), Traffic()
        idle = Idle(clock)
        settle()
        took: list[Sequence[float]] = []
        for number in range(int(_DAYS * _A_DAY)):
            begin = start + number * _INTERVAL
            counts = traffic.at(begin)
            moments = [time.process_time()]
            with writing(engine) as connection:
                writer.write(connection, _snapshot(begin, counts))
            moments.append(time.process_time())
            for host_id in pipeline.hosts_behind(engine):
                pipeline.detect_next(engine, host_id, stages)
            moments.append(time.process_time())
            clock.seconds += _INTERVAL.total_seconds()
            keeping.round(begin + _INTERVAL)
            moments.append(time.process_time())
            if number % _TRAINING_EVERY == 0:
                training.round()
            if number % _DELIVERY_EVERY == 0:
                while delivery.deliver(channel, notifier, UNLIMITED):
                    pass
            idle.notice()
            moments.append(time.process_time())
            took.append([*(after - before for before, after in pairwise(moments)), _yardstick()])
            if len(took) == _A_DAY:
                *parts, yardstick = (fmean(part) for part in zip(*took, strict=True))
                took.clear()
                with reading(engine) as connection:
                    known = connection.scalar(select(func.count()).select_from(alerts)) or 0
                yield _Day(
                    memory=pss(os.getpid()),
                    files=len(list(Path("/proc/self/fd").iterdir())),
                    disk=sizes.measure(engine).on_disk,
                    took=sum(parts),
                    parts=parts,
                    yardstick=yardstick,
                    alerts=known,
                )
        forests.close()
        engine.dispose()
    for line in dict.fromkeys(said.lines):
        print(f"  {line}", file=sys.stderr)


def _snapshot(begin: datetime, counts: Sequence[ConnectionCount]) -> Snapshot:
    return Snapshot(
        host="bastion-1",
        start=begin,
        end=begin + _INTERVAL,
        counts=tuple(counts),
        losses=Losses(),
        health=CaptureHealth(),
    )
