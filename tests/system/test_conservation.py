"""What is counted, and what is lost, add up to what happened: on the real kernel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from detector.domain import Outcome, Protocol
from tests.system import loads
from tests.system.conftest import storm
from tests.system.island import HOLE, island
from tests.system.loads import COMMAND, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Engine

    from detector.bpf.capture import Drained, KernelCount
    from detector.domain import ConnectionCount, Snapshot

pytestmark = [pytest.mark.kernel, pytest.mark.alone]


@pytest.mark.timeout(300)
def test_200_000_connects_of_eight_processes_are_stored_exactly_while_snapshots_are_taken(
    sqlite_engine: Engine,
) -> None:
    """Accepted, refused and given up, IPv4 and IPv6, a snapshot every 100 ms: exact per key and outcome, none lost."""
    clients = loads.eight_clients(scaled(25_000, step=1000))
    with Capture(map_entries=65_536) as capture, LiveCollector(capture, "test-host") as live, island("test") as inside:
        taken = loads.run_and_store(sqlite_engine, live, clients, inside)
    assert loads.stored(sqlite_engine) == loads.expected(clients)
    # An outcome is unmatched if somebody on this machine began to connect before the capture.
    assert loads.stored_losses(sqlite_engine).keys() <= {"unmatched"}
    assert taken > 3


_ROOM, _PORT = 64, 7001
# Each with the number of its connects or destinations as an argument, and what they are counted as.
_STORMS: dict[str, tuple[Callable[[int], list[str]], tuple[str, ...]]] = {
    "accepted": (lambda count: storm("connect", "127.0.0.1", _PORT, count), ("attempted", "established", "inbound")),
    "refused": (lambda count: storm("scan", "127.0.0.1", 1, count), ("attempted", "refused")),
    "refused by IPv6": (lambda count: storm("scan", "::1", 1, count), ("attempted", "refused")),
    "given up": (lambda count: storm("abandon", HOLE, 9, count), ("attempted", "failed")),
    "datagrams": (lambda count: storm("send", "127.0.1.0", count, 9, 1), ("attempted",)),
}


@pytest.fixture(scope="module", params=[1, 4096], ids=["one process beyond", "4,096 processes beyond"])
def cramped(request: pytest.FixtureRequest) -> Iterator[Capture]:
    """Room for 64 keys, and for few or many processes whose keys found none."""
    with Capture(map_entries=_ROOM, folded_entries=request.param) as capture:
        yield capture


@pytest.fixture(scope="module")
def witness() -> Iterator[Capture]:
    """Sees with room enough whether anything else on this machine connects: losses are nobody's in particular."""
    with Capture(map_entries=65_536) as capture:
        yield capture


@pytest.fixture(scope="module")
def inside(cramped: Capture) -> Iterator[list[str]]:  # noqa: ARG001  it must see the server begin
    """A network of its own with a server; gives the command prefix to run in it."""
    with island("cramped") as prefix, loads.serving(prefix, "127.0.0.1", _PORT):
        yield prefix


@pytest.mark.timeout(300)
@settings(max_examples=12, suppress_health_check=[HealthCheck.filter_too_much])
@given(storms=st.dictionaries(st.sampled_from(sorted(_STORMS)), st.integers(1, 300), min_size=1))
def test_with_too_few_entries_what_is_counted_folded_and_lost_is_what_was_made(
    witness: Capture, cramped: Capture, inside: list[str], storms: dict[str, int]
) -> None:
    """Attempts and each outcome: rows with and without an address, and losses, add up; what was folded is said."""
    witness.drain()
    cramped.drain()
    for name, count in storms.items():
        command, _ = _STORMS[name]
        subprocess.run([*inside, *command(count)], input=b"1\n", stdout=subprocess.DEVNULL, check=True)
    drained = cramped.drain()
    assume(all(_is_ours(count) for count in witness.drain().counts))
    made: Counter[str] = Counter()
    for name, count in storms.items():
        made.update(dict.fromkeys(_STORMS[name][1], count))
    assert _counted(drained.counts) + Counter(drained.losses.nonzero()) == made + _folded(drained)
    assert len([count for count in drained.counts if count.remote_address]) <= _ROOM


def _is_ours(count: KernelCount) -> bool:
    return count.process is not None and count.process.command == COMMAND


def _counted(counts: Iterable[KernelCount]) -> Counter[str]:
    """What was counted of the storms, by the names of losses."""
    total: Counter[str] = Counter()
    for count in filter(_is_ours, counts):
        if count.inbound:
            assert count.attempted == count.established
            total["inbound"] += count.attempted
        else:
            total.update({name: getattr(count, name) for name in ("attempted", *Outcome)})
    return +total


def _folded(drained: Drained) -> Counter[str]:
    """What must be said to be folded: an accepted connection is one event, an attempt and its outcome are two."""
    rows = [count for count in drained.counts if count.remote_address is None]
    return +Counter(folded=sum(count.attempted if count.inbound else sum(_values(count)) for count in rows))


def _values(count: KernelCount | ConnectionCount) -> list[int]:
    return [getattr(count, name) for name in ("attempted", *Outcome)]


@pytest.mark.timeout(300)
def test_a_scan_of_200_000_pairs_in_one_interval_loses_nothing_and_takes_no_more_memory_the_next_time() -> None:
    """Three times as many addresses and ports as there is room for: the rest is one row of its process, and said."""
    addresses, ports = scaled(100), 1000
    entries = max(64, scaled(65_536))
    with Capture(map_entries=entries) as capture, LiveCollector(capture, "test") as live, island("test") as inside:
        live.take()
        before, peaks = _memory("VmRSS"), []
        for _ in range(2):
            _scan(inside, addresses, ports)
            # Sets the peak back to what is in use.
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            _check_scan(live.take(), 2 * addresses * ports, entries)
            peaks.append(_memory("VmHWM") - before)
    assert peaks[1] < peaks[0] * 1.2 + 5_000_000
    # Half of this is what the rows themselves take.
    assert max(peaks) < 1500 * entries + 5_000_000


def _memory(what: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def _scan(inside: list[str], addresses: int, ports: int) -> None:
    with ExitStack() as running:
        for first in ("127.1.0.0", "127.2.0.0"):
            command = [*inside, *storm("sweep", first, addresses, 20_000, ports)]
            running.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))


def _check_scan(snapshot: Snapshot, made: int, entries: int) -> None:
    ours = [count for count in snapshot.counts if count.key.command == COMMAND]
    assert (sum(count.attempted for count in ours), sum(count.refused for count in ours)) == (made, made)
    (folded,) = [count for count in ours if count.key.remote_address is None]
    assert len([count for count in snapshot.counts if count.key.remote_address is not None]) <= entries
    assert snapshot.losses.nonzero().keys() <= {"folded", "unmatched"}
    assert snapshot.losses.folded >= folded.attempted + folded.refused > made
    assert snapshot.health.self_test_passed


_SENDERS, _SOCKETS, _DESTINATIONS = 3, 12, 25


def test_flows_of_datagrams_are_counted_once_a_snapshot_however_many_packets() -> None:
    """Sockets times destinations: exactly so many in a snapshot between sends; of those that are taken meanwhile, each
    has each flow that sent in it once.
    """
    with ExitStack() as running:
        capture = running.enter_context(Capture(map_entries=65_536))
        live = running.enter_context(LiveCollector(capture, "test-host"))
        inside = running.enter_context(island("test"))
        senders = [
            running.enter_context(subprocess.Popen(
                [*inside, *storm("send", "127.0.1.0", _DESTINATIONS, 9, _SOCKETS)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            ))
            for _ in range(_SENDERS)
        ]  # fmt: skip
        for _ in range(2):
            _send(senders, turns=3)
            turn_seconds = max(end - start for turns in _turns(senders) for start, end in turns)
            assert _flows(live.take()) == dict.fromkeys(_destinations(), _SENDERS * _SOCKETS)
        _check_cut_turns(live, senders, turn_seconds)


def _check_cut_turns(live: LiveCollector, senders: list[subprocess.Popen[str]], turn_seconds: float) -> None:
    pause = max(0.05, 4 * turn_seconds)
    _send(senders, turns=round(10 * pause / turn_seconds))
    snapshots = []
    began = time.time()
    for _ in range(10):
        time.sleep(pause)
        ended = time.time()
        snapshots.append((began, ended, _flows(live.take())))
        began = time.time()
    turns = _turns(senders)
    checked = 0
    for began, ended, flows in snapshots:
        # Of whoever went through all its sockets and destinations meanwhile, each flow must be there.
        whole = [any(began <= start and end <= ended for start, end in own) for own in turns]
        checked += sum(whole)
        for destination in _destinations() if any(whole) else ():
            assert sum(whole) * _SOCKETS <= flows[destination] <= _SENDERS * _SOCKETS, flows
    assert checked > 0


def _send(senders: list[subprocess.Popen[str]], turns: int) -> None:
    for sender in senders:
        assert sender.stdin
        sender.stdin.write(f"{turns}\n")
        sender.stdin.flush()


def _turns(senders: list[subprocess.Popen[str]]) -> list[list[tuple[float, float]]]:
    """Of each sender, when each turn began and ended; waits for the last one."""
    return [list(_turns_of(sender)) for sender in senders]


def _turns_of(sender: subprocess.Popen[str]) -> Iterator[tuple[float, float]]:
    assert sender.stdout
    while (line := sender.stdout.readline()) != "done\n":
        start, end = line.split()
        yield float(start), float(end)


def _destinations() -> list[str]:
    return [f"127.0.1.{index}" for index in range(_DESTINATIONS)]


def _flows(snapshot: Snapshot) -> dict[str, int]:
    assert not snapshot.losses.attempted + snapshot.losses.folded
    return {
        str(count.key.remote_address): count.attempted
        for count in snapshot.counts
        if count.key.command == COMMAND and count.key.protocol == Protocol.UDP
    }


def test_attempts_under_way_beyond_what_can_be_followed_are_said(blackhole: list[str]) -> None:
    """300 connects wait for an answer with room for fewer: all attempts are counted, and outcomes counted or named."""
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
    with Capture(map_entries=1024, pending_entries=64) as capture, LiveCollector(capture, "test-host") as live:
        with subprocess.Popen(
            [*blackhole, sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout
            client.stdout.readline()
            during = live.take()
            client.communicate(b"")
        after = live.take()
    assert sum(count.attempted for count in during.counts if count.key.remote_port == 9) == 300
    without_outcome = 300 - sum(count.failed for count in after.counts if count.key.remote_port == 9)
    # Others on this machine may be among them.
    assert during.losses.pending_full >= without_outcome > 0
    assert after.losses.unmatched >= without_outcome
