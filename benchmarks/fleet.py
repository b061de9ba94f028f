"""A fleet that sends to one Postgres, and two `detector detect` that keep up with it, all on this machine.

BENCH_HOSTS (200) hosts send 250 rows each every ten seconds for BENCH_MINUTES (2). Every host has been learnt, so that
all that detection does is done: one is played through a night, and what was learnt is copied to the others. Also as a
program: `python -m benchmarks.fleet` prints how the lag goes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import quantiles
from threading import Event, Lock
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from benchmarks.figures import Figure
from benchmarks.servers import postgres, processor_seconds
from detector import shipped
from detector.alerts.book import AlertBook
from detector.config import Models
from detector.domain import Snapshot
from detector.models.scorer import HostScorer
from detector.pipeline import Stages, detect_next, hosts_behind
from detector.ruleset.load import load_rules
from detector.store import tables
from detector.store.engine import open_store, reading, writing
from detector.store.migrating import upgrade
from detector.store.snapshots import SnapshotWriter
from tests.builders import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from detector.domain import ConnectionCount

_ROWS = 250
_KEYS = 400
_INTERVAL = timedelta(seconds=10)
_BURN_IN_HOURS = 2.0
_NIGHT = 48
_WORKERS = 2
# Of the simulator, whose hosts are 200 machines otherwise.
_THREADS = 4
_VARIETY = 12
_CONFIG = """
state_folder = "{folder}"
host = "worker"
[database]
url = "{url}"
[models]
burn_in_hours = {burn_in}
[notify]
console = false
"""


def traffic(random: Random) -> tuple[ConnectionCount, ...]:
    """What a bastion host sees in ten seconds: sessions, services, people who come in; now and then a new name."""
    rows = [_row(index, random) for index in random.sample(range(_KEYS), _ROWS - 1)]
    new = f"10.9.{random.randrange(200)}.{random.randrange(200)}"
    rows.append(count(new, 443) if random.random() < 0.1 else count("10.0.0.1", 53, protocol="udp"))
    return tuple(rows)


def _row(index: int, random: Random) -> ConnectionCount:
    if index < _KEYS * 3 // 10:
        sshd = {"executable": "/usr/sbin/sshd", "command": "sshd", "user": "root", "login_user": None}
        address, port = f"192.0.2.{index}", (22, 22, 443)[index % 3]
        return count(
            address, port, direction="inbound", unit="ssh.service", established=1 + random.randrange(2), **sshd
        )
    tool, person = index % 28, index % 4
    return count(
        f"10.1.{tool % 9}.{index % 7}",
        (443, 443, 80, 5432, 22, 8443)[tool % 6],
        executable=f"/usr/bin/tool{tool}",
        command=f"tool{tool}",
        user=("alice", "bob", "carol", "root")[person],
        login_user=("alice", "bob", "carol", "dave")[person],
        session=100 + person,
        login_address=f"203.0.113.{person}",
        login_source="sshd",
        remote_name=f"service{index % 30}.example.org",
        remote_name_source="udp answer of 10.0.0.2",
        attempted=1 + random.randrange(2),
        established=1,
    )


class Fleet:
    """Hosts that send one snapshot after another, each at its own moment of the interval."""

    def __init__(self, engine: Engine, hosts: int) -> None:
        self._engine = engine
        self.names = [f"bastion-{number}" for number in range(1, hosts + 1)]
        self._writers = [SnapshotWriter(name) for name in self.names]
        self._ends = [datetime.now(UTC)] * hosts
        random = Random(7)
        self._usual = [traffic(random) for _ in range(_VARIETY)]
        self._lock = Lock()
        self.sent: dict[tuple[int, int], float] = {}
        """When each snapshot was stored, by host and number."""
        self.write_seconds: list[float] = []

    def send(self, number: int, length: timedelta = _INTERVAL) -> None:
        """One snapshot of one host."""
        start = self._ends[number]
        end = self._ends[number] = start + length
        counts = self._usual[(number + int(end.timestamp()) // 10) % _VARIETY]
        snapshot = Snapshot(host=self.names[number], start=start, end=end, counts=counts)
        asked = time.monotonic()
        with writing(self._engine) as connection:
            ref = self._writers[number].write(connection, snapshot, mark=os.urandom(16))
        stored = time.monotonic()
        with self._lock:
            self.sent[ref.host_id, ref.seq] = stored
            self.write_seconds.append(stored - asked)

    def set_out(self, number: int, end: datetime) -> None:
        """The host's next snapshot begins then."""
        self._ends[number] = end

    def run(self, until: float, stop: Event) -> None:
        """Sends until then, by the clock of `time.monotonic`; hosts that are late make up for it."""
        begin, step = time.monotonic(), _INTERVAL.total_seconds() / len(self.names)

        def some(first: int) -> None:
            due = begin + first * step
            while due < until and not stop.is_set():
                for number in range(first, len(self.names), _THREADS):
                    at = due + (number - first) * step
                    stop.wait(max(0.0, at - time.monotonic()))
                    self.send(number)
                due += _INTERVAL.total_seconds()

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(some, range(_THREADS)))


def learn(engine: Engine, fleet: Fleet) -> None:
    """Plays a night of one host, and gives all others what was learnt of it."""
    begin = datetime.now(UTC) - (_NIGHT + 2) * timedelta(minutes=10)
    fleet.set_out(0, begin)
    stages = Stages(
        scorer=HostScorer(Models(burn_in_hours=_BURN_IN_HOURS)),
        ruleset=load_rules([shipped.folder("rules")]).ruleset,
        alert_book=AlertBook([], timedelta(hours=1)),
    )
    for _ in range(_NIGHT):
        fleet.send(0, timedelta(minutes=10))
        for host_id in hosts_behind(engine):
            detect_next(engine, host_id, stages)
    for number in range(len(fleet.names)):
        fleet.set_out(number, datetime.now(UTC))
        fleet.send(number)
    with writing(engine) as connection:
        for name in (
            "model_hosts",
            "model_subjects",
            "model_blocks",
            "model_channels",
            "model_hours",
            "model_records",
            "model_samples",
            "models",
        ):
            columns = ", ".join(f'm."{each.name}"' for each in tables.metadata.tables[name].c if each.name != "host_id")
            targets = columns.replace("m.", "")
            connection.execute(
                text(
                    f"INSERT INTO {name} (host_id, {targets}) SELECT h.host_id, {columns} FROM {name} m"
                    " JOIN hosts h ON h.host_id <> m.host_id WHERE m.host_id = 1"
                )
            )


class Lag:
    """How long snapshots waited for detection, seen twice a second."""

    def __init__(self, engine: Engine, fleet: Fleet) -> None:
        self._engine, self._fleet = engine, fleet
        self._open: set[tuple[int, int]] = set()
        self._known: set[tuple[int, int]] = set()
        self.seconds: list[float] = []
        self.oldest: list[tuple[float, float]] = []
        """At each look, how long the oldest that waits has been waiting."""

    def look(self) -> float:
        """Returns how long the oldest has been waiting."""
        cursor = tables.detection_cursors.c
        with reading(self._engine) as connection:
            cursors = {row.host_id: row.seq for row in connection.execute(select(cursor.host_id, cursor.seq))}
        now = time.monotonic()
        sent = dict(self._fleet.sent)
        self._open |= sent.keys() - self._known
        self._known |= sent.keys()
        done = {(host_id, seq) for host_id, seq in self._open if seq <= cursors.get(host_id, 0)}
        self.seconds += [now - sent[each] for each in done]
        self._open -= done
        oldest = max((now - sent[each] for each in self._open), default=0.0)
        self.oldest.append((now, oldest))
        return oldest

    @property
    def waiting(self) -> int:
        """Snapshots that wait."""
        return len(self._open)


def measure(*, say: bool = False) -> Iterator[Figure]:
    """See above. `say`: print how long the oldest snapshot has been waiting, every ten seconds."""
    minutes = float(os.environ.get("BENCH_MINUTES", "2"))
    hosts = int(os.environ.get("BENCH_HOSTS", "200"))
    with ExitStack() as stack:
        url, server = stack.enter_context(postgres())
        engine = open_store(url)
        stack.callback(engine.dispose)
        upgrade(engine)
        fleet = Fleet(engine, hosts)
        learn(engine, fleet)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "detector.toml"
        config.write_text(_CONFIG.format(folder=folder, url=url, burn_in=_BURN_IN_HOURS))
        config.chmod(0o600)
        command = [sys.executable, "-m", "detector", "--config", str(config), "detect"]
        workers = [stack.enter_context(_running(command)) for _ in range(_WORKERS)]
        _wait_for_start(engine, fleet)
        watched = {"simulator": os.getpid(), "Postgres": server}
        watched |= {f"detect {number}": worker.pid for number, worker in enumerate(workers, start=1)}
        before = {name: _own(name, pid) for name, pid in watched.items()}
        began = time.monotonic()
        lag = _watched(engine, fleet, began + 60 * minutes, say=say)
        took = time.monotonic() - began
        end = lag.look()
        spent = {name: _own(name, pid) - before[name] for name, pid in watched.items()}
        assert all(worker.poll() is None for worker in workers)
    yield from _figures(fleet, lag, f"{hosts} hosts, {minutes:g} min", took, end)
    for name, seconds in spent.items():
        yield Figure(f"processor, {name}", 100 * seconds / took, "%", "of one")
    each = 1000 * sum(spent.values()) / len(fleet.sent)
    yield Figure("processors' time for a snapshot", each, "ms", "all together")


def _wait_for_start(engine: Engine, fleet: Fleet) -> None:
    """Until both have imported what they need, and looked at the first snapshots."""
    lag = Lag(engine, fleet)
    deadline = time.monotonic() + 120
    while lag.look() and time.monotonic() < deadline:
        time.sleep(0.5)
    fleet.sent.clear()
    fleet.write_seconds.clear()


def _watched(engine: Engine, fleet: Fleet, until: float, *, say: bool) -> Lag:
    """Lets the fleet send, and looks at what waits."""
    lag = Lag(engine, fleet)
    begin = said = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fleet.run, until, Event())
        while not running.done():
            oldest = lag.look()
            if say and time.monotonic() - said >= 10:
                said = time.monotonic()
                print(f"{said - begin:6.0f} s  oldest waits {oldest:5.1f} s, {lag.waiting} wait", flush=True)
            time.sleep(0.5)
        running.result()
    return lag


def _figures(fleet: Fleet, lag: Lag, note: str, took: float, end: float) -> Iterator[Figure]:
    sent = len(fleet.sent)
    yield Figure("snapshots stored", sent / took, "1/s", note)
    yield Figure("rows stored", _ROWS * sent / took, "1/s", note)
    yield Figure("storing one, median", 1000 * quantiles(fleet.write_seconds, n=2)[0], "ms", note)
    cuts = quantiles(lag.seconds, n=20)
    yield Figure("lag, median", cuts[9], "s", "from stored to detected, looked at twice a second")
    yield Figure("lag, p95", cuts[18], "s", note)
    yield Figure("lag, longest", max(each for _, each in lag.oldest), "s", note)
    yield Figure("lag at the end", end, "s", f"{lag.waiting} of {sent} wait")


def _own(name: str, pid: int) -> float:
    # What the simulator has started is counted by itself.
    return time.process_time() if name == "simulator" else processor_seconds(pid)


class _running:  # noqa: N801  a context manager
    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)


if __name__ == "__main__":
    for figure in measure(say=True):
        print(f"{figure.name:34} {figure.value:10.3g} {figure.unit:4} {figure.note}")
