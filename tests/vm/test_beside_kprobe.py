"""Our counts beside those of a kprobe on tcp_v4_connect. Needs a kernel that has kprobes: `make test-vm`."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from detector.bpf.btf import KERNEL_TYPES, KernelTypes
from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from detector.domain import Direction
from tests.system.conftest import storm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detector.domain import ConnectionCount

    Destinations = Counter[tuple[IPv4Address, int]]

pytestmark = pytest.mark.kernel

_SOURCE = Path(__file__).with_name("tcp_v4_connect.bpf.c")
_HEADERS = Path(__file__).parents[2] / "detector/bpf/kernel_headers"
_MEMBERS = (
    ("pt_regs", "di"), ("pt_regs", "ax"), ("sock_common", "skc_rcv_saddr"), ("sock_common", "skc_daddr"),
    ("sock_common", "skc_num"), ("sock_common", "skc_dport"),
)  # fmt: skip

# Nothing but this test connects there.
_NETWORK = IPv4Network("127.77.0.0/16")
_ACCEPTING = (7101, 7102)
_REFUSING = range(1, 40)
_CLIENT = """
import json, socket, struct, sys
for address, port in json.load(sys.stdin):
    with socket.socket() as client:
        # A closing socket resets the connection: no TIME_WAIT, so that local ports do not run out.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.connect_ex((address, port))
"""


def test_a_kprobe_beside_us_counts_each_destination_and_port_as_often_as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processes, 500 pairs of 300 destinations and 41 ports, accepted and refused, snapshots meanwhile."""
    random = Random(6)
    destinations = [_NETWORK[number] for number in random.sample(range(1, 65_535), 300)]
    ports = (*_ACCEPTING * 10, *_REFUSING)
    planned: Destinations = Counter()
    for _ in range(500):
        planned[random.choice(destinations), random.choice(ports)] += random.randint(1, 15)

    counts: list[ConnectionCount] = []
    with Capture(map_entries=65_536) as capture, LiveCollector(capture, "test-host") as live:
        with _kprobe(monkeypatch) as counted_by_kprobe, _servers():
            clients = _start_clients(planned, random)
            while any(client.poll() is None for client in clients):
                counts += live.take().counts
                time.sleep(0.1)
            by_kprobe = counted_by_kprobe()
        counts += live.take().counts

    assert [client.returncode for client in clients] == [0] * len(clients)
    assert by_kprobe == planned
    assert _sums(counts, "attempted") == planned
    accepted = Counter({pair: number for pair, number in planned.items() if pair[1] in _ACCEPTING})
    assert _sums(counts, "established") == accepted
    assert _sums(counts, "refused") == planned - accepted


def _sums(counts: list[ConnectionCount], outcome: str) -> Destinations:
    sums: Destinations = Counter()
    for count in counts:
        key = count.key
        if key.direction is Direction.OUTBOUND and key.remote_address in _NETWORK and (many := getattr(count, outcome)):
            sums[IPv4Address(str(key.remote_address)), key.remote_port or 0] += many
    return sums


@contextmanager
def _kprobe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Destinations]]:
    """Attaches the program; what it gives reads the counts, summed over sources."""
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(_HEADERS))
    import bcc

    offsets = KernelTypes(KERNEL_TYPES.read_bytes()).offsets(_MEMBERS)
    flags = [f"-DOFFSET_{owner}_{member}={offset}" for (owner, member), offset in offsets.items()]
    bpf = bcc.BPF(text=_SOURCE.read_bytes(), cflags=flags)
    bpf.attach_kprobe(event=b"tcp_v4_connect", fn_name=b"enter")
    bpf.attach_kretprobe(event=b"tcp_v4_connect", fn_name=b"leave")

    def counted() -> Destinations:
        sums: Destinations = Counter()
        for flow, number in bpf[b"connects"].items():
            destination = IPv4Address(struct.pack("=I", flow.destination))
            if destination in _NETWORK:
                sums[destination, socket.ntohs(flow.destination_port)] += number.value
        return sums

    try:
        yield counted
    finally:
        bpf.cleanup()


@contextmanager
def _servers() -> Iterator[None]:
    with ExitStack() as running:
        for port in _ACCEPTING:
            server = running.enter_context(subprocess.Popen(storm("serve", "0.0.0.0", port), stdout=subprocess.PIPE))
            running.callback(server.kill)
            assert server.stdout
            server.stdout.readline()
        yield


def _start_clients(planned: Destinations, random: Random) -> list[subprocess.Popen[bytes]]:
    connects = [(str(address), port) for address, port in planned.elements()]
    random.shuffle(connects)
    clients = []
    for number in range(4):
        client = subprocess.Popen([sys.executable, "-c", _CLIENT], stdin=subprocess.PIPE)
        assert client.stdin
        client.stdin.write(json.dumps(connects[number::4]).encode())
        client.stdin.close()
        clients.append(client)
    return clients
