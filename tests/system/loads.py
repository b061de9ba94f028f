"""Loads on the real kernel whose counts are known beforehand, for tests and benchmarks."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import Outcome
from detector.store.engine import reading, writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import connection_keys, snapshots
from tests.builders import every_row
from tests.system.conftest import storm
from tests.system.island import HOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from detector.collector.live import LiveCollector

# Taken out of the environment, since detector refuses variables of its prefix that are not settings.
SCALE = float(os.environ.pop("DETECTOR_TEST_SCALE", "1"))
"""What the loads of tests are multiplied by."""

COMMAND = f"storm-{os.getpid()}"
"""The command name of all storms that this process starts."""

_INTERVAL_SECONDS = 0.1
_COUNTS = ("attempted", *Outcome)


def scaled(count: int, step: int = 1) -> int:
    """`count` times the scale, as a multiple of `step`, at least one."""
    return max(1, round(count * SCALE / step)) * step


@contextmanager
def running_server(command: Sequence[str]) -> Iterator[None]:
    """A server, from when it has said that it serves."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout
            assert server.stdout.readline(), command
            yield
        finally:
            server.kill()


def serving(inside: Sequence[str], address: str, port: int) -> AbstractContextManager[None]:
    """A server that accepts and closes."""
    return running_server([*inside, *storm("serve", address, port)])


@dataclass(frozen=True, slots=True)
class Client:
    """A process that makes `each` connects to every one of `ports`, all with the same outcome."""

    verb: str
    address: str
    ports: range
    each: int
    outcome: Outcome

    @property
    def command(self) -> list[str]:
        """Its command line."""
        if self.verb == "scan":
            return storm("scan", self.address, self.ports[0], len(self.ports), self.each)
        return storm(self.verb, self.address, self.ports[0], self.each)


def eight_clients(each: int) -> tuple[Client, ...]:
    """Of `each` connects, a multiple of 1,000: accepted, refused, given up; to one port and to many; IPv4 and IPv6."""
    accepted = (("127.0.0.1", 7001), ("::1", 7002), ("127.0.0.1", 7003), ("::1", 7004))
    return (
        *(Client("connect", address, range(port, port + 1), each, Outcome.ESTABLISHED) for address, port in accepted),
        Client("connect", "127.0.0.1", range(1, 2), each, Outcome.REFUSED),
        Client("connect", "::1", range(2, 3), each, Outcome.REFUSED),
        Client("abandon", HOLE, range(3, 4), each, Outcome.FAILED),
        Client("scan", "127.0.0.2", range(10_000, 11_000), each // 1000, Outcome.REFUSED),
    )


Counts = dict[str, int]
"""Of one key, by the names of `ConnectionCount`."""
Counted = dict[tuple[str, str, int], Counts]
"""By direction, remote address, and the port that tells keys of this direction apart."""


def expected(clients: Sequence[Client]) -> Counted:
    """What must be counted of them, to the last connect."""
    counted: Counted = {}
    for client in clients:
        counts = dict.fromkeys(_COUNTS, 0) | {"attempted": client.each, client.outcome: client.each}
        for port in client.ports:
            counted["outbound", client.address, port] = counts
            if client.outcome == Outcome.ESTABLISHED:
                counted["inbound", client.address, port] = counts
    return counted


def run_and_store(engine: Engine, live: LiveCollector, clients: Sequence[Client], inside: Sequence[str]) -> int:
    """Runs the clients on an island, stores a snapshot every 100 ms, and gives the number of snapshots."""
    writer = SnapshotWriter("test-host")
    done = threading.Event()
    taken = 0

    def wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.wait()
        done.set()

    with ExitStack() as running:
        for client in clients:
            if client.outcome == Outcome.ESTABLISHED:
                # One for each: a client that finds the queue of others before it would wait for a second.
                running.enter_context(serving(inside, client.address, client.ports[0]))
        # Nice, so that among so many the snapshots are taken in time.
        processes = [
            running.enter_context(subprocess.Popen(["nice", *inside, *client.command], stdout=subprocess.DEVNULL))
            for client in clients
        ]
        threading.Thread(target=wait, args=[processes]).start()
        due = time.monotonic()
        while not done.is_set():
            due = max(due + _INTERVAL_SECONDS, time.monotonic())
            done.wait(due - time.monotonic())
            with writing(engine) as connection:
                writer.write(connection, live.take())
            taken += 1
    with writing(engine) as connection:
        writer.write(connection, live.take())
    return taken + 1


def stored(engine: Engine) -> Counted:
    """What was stored of the storms of this process, all snapshots together."""
    port = func.coalesce(connection_keys.c.remote_port, connection_keys.c.local_port)
    keys = connection_keys.c
    query = select(keys.host_id, keys.key_id, keys.direction, keys.remote_address, port).where(keys.command == COMMAND)
    with reading(engine) as connection:
        ours = {
            (host_id, key_id): (direction, str(address), at)
            for host_id, key_id, direction, address, at in connection.execute(query)
        }
    found: dict[tuple[str, str, int], Counter[str]] = {}
    for row in every_row(engine):
        if (key := ours.get((row["host_id"], row["key_id"]))) is not None:
            found.setdefault(key, Counter()).update({name: row[name] for name in _COUNTS})
    return {key: {name: counts[name] for name in _COUNTS} for key, counts in found.items()}


def stored_losses(engine: Engine) -> dict[str, int]:
    """What the stored snapshots lack, by kind; empty if they are complete."""
    columns = {each.name: each for each in snapshots.c if each.name.startswith("lost_")}
    with reading(engine) as connection:
        sums: Mapping[str, int] = dict(
            connection.execute(select(*(func.sum(each).label(name) for name, each in columns.items()))).mappings().one()
        )
    return {name.removeprefix("lost_"): lost for name, lost in sums.items() if lost}
