"""What is counted, and what is lost, add up to what happened: on the real kernel."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from detector.domain import Losses
from detector.store.engine import reading, writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import connection_counts, connection_keys, snapshots
from tests.system.conftest import storm

if TYPE_CHECKING:
    from sqlalchemy import Engine

pytestmark = pytest.mark.kernel

_COUNTS = ("attempted", "established", "refused", "timed_out", "failed")


def _stored(engine: Engine, direction: str, port: int) -> dict[str, int]:
    ports = connection_keys.c.local_port if direction == "inbound" else connection_keys.c.remote_port
    query = (
        select(*(func.coalesce(func.sum(connection_counts.c[name]), 0).label(name) for name in _COUNTS))
        .join(connection_keys, connection_keys.c.key_id == connection_counts.c.key_id)
        .where(connection_keys.c.direction == direction, ports == port)
    )
    with reading(engine) as connection:
        return dict(connection.execute(query).mappings().one())


@pytest.mark.timeout(300)
def test_200_000_connects_of_four_processes_are_stored_exactly_while_snapshots_are_taken(
    sqlite_engine: Engine,
) -> None:
    """Refused and accepted, IPv4 and IPv6, a snapshot every 100 ms: exact per outcome, and nothing lost."""
    each = 50_000
    done = threading.Event()
    writer = SnapshotWriter("test-host")
    taken = 0

    with Capture(map_entries=65_536) as capture:
        live = LiveCollector(capture, "test-host")
        servers = [
            subprocess.Popen(storm("serve", address, port), stdout=subprocess.PIPE)
            for address, port in (("127.0.0.1", 7003), ("::1", 7004))
        ]
        try:
            for server in servers:
                assert server.stdout
                server.stdout.readline()
            clients = [
                subprocess.Popen(storm("connect", address, port, each), stdout=subprocess.DEVNULL)
                for address, port in (("127.0.0.1", 1), ("::1", 2), ("127.0.0.1", 7003), ("::1", 7004))
            ]

            def wait_for_clients() -> None:
                for client in clients:
                    client.wait()
                done.set()

            waiter = threading.Thread(target=wait_for_clients)
            waiter.start()
            finished = False
            while not finished:
                finished = done.wait(0.1)
                with writing(sqlite_engine) as connection:
                    writer.write(connection, live.take())
                taken += 1
            waiter.join()
        finally:
            for server in servers:
                server.kill()
                server.wait()
                assert server.stdout
                server.stdout.close()

    zero = dict.fromkeys(_COUNTS, 0)
    refused = zero | {"attempted": each, "refused": each}
    accepted = zero | {"attempted": each, "established": each}
    assert _stored(sqlite_engine, "outbound", 1) == refused
    assert _stored(sqlite_engine, "outbound", 2) == refused
    assert _stored(sqlite_engine, "outbound", 7003) == accepted
    assert _stored(sqlite_engine, "outbound", 7004) == accepted
    assert _stored(sqlite_engine, "inbound", 7003) == accepted
    assert _stored(sqlite_engine, "inbound", 7004) == accepted
    assert taken > 5
    lost = [column for column in snapshots.c if column.name.startswith("lost_")]
    with reading(sqlite_engine) as connection:
        assert set(connection.execute(select(*map(func.sum, lost))).one()) == {0}


def test_what_finds_no_room_in_a_map_made_too_small_is_counted_as_lost() -> None:
    """1,000 ports against room for 64: counted and lost add up, of attempts and of refusals."""
    with Capture(map_entries=64) as capture:
        live = LiveCollector(capture, "test-host")
        subprocess.run(storm("scan", "127.0.0.1", 1, 1000), check=True, stdout=subprocess.DEVNULL)
        snapshot = live.take()
    assert len(snapshot.counts) <= 64
    assert sum(count.attempted for count in snapshot.counts) + snapshot.losses.attempted == 1000
    assert sum(count.refused for count in snapshot.counts) + snapshot.losses.refused == 1000
    assert set(snapshot.losses.nonzero()) == {"attempted", "refused"}


def test_attempts_under_way_beyond_what_can_be_followed_are_said(blackhole: list[str]) -> None:
    """300 connects wait for an answer with room for 100: all attempts are counted, and the rest of outcomes named."""
    waiting = """
import socket, sys
held = []
for _ in range(300):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("10.99.0.2", 9))
    held.append(client)
print("waiting", flush=True)
sys.stdin.read()
"""
    with Capture(map_entries=1024, pending_entries=100) as capture:
        live = LiveCollector(capture, "test-host")
        with subprocess.Popen(
            [*blackhole, sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout
            client.stdout.readline()
            during = live.take()
            client.communicate(b"")
        after = live.take()
    assert sum(count.attempted for count in during.counts if count.key.remote_port == 9) == 300
    assert during.losses == Losses(pending_full=200)
    assert sum(count.failed for count in after.counts if count.key.remote_port == 9) == 100
    assert after.losses == Losses(unmatched=200)
