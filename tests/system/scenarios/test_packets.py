"""What is sent without a connection: one flow for each socket and destination, however many packets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios.namespaces import NAME, PROHIBITED, TARGET, TARGET_6, tell
from tests.system.scenarios.rows import Row, program
from tests.system.scenarios.sshd import ALICE
from tests.system.scenarios.target import CLOSED_PORT

if TYPE_CHECKING:
    from tests.system.scenarios.namespaces import Network
    from tests.system.scenarios.watch import Watch

pytestmark = pytest.mark.kernel

_ADDRESSES = (TARGET, TARGET_6, PROHIBITED)
_ROW = Row(executable="{folder}/sockets", address=TARGET, port=7001, protocol="udp")
_THREE = [replace(_ROW, port=port) for port in (7001, 7002, 7003)]
_PING = Row(executable=program("ping"), address=TARGET, protocol="icmp")
_NMAP = Row(executable=program("nmap"), address=TARGET, protocol="raw")

_SCENARIOS = {
    **{
        f"UDP with {method}": (f"{{folder}}/sockets {method} udp {TARGET} 7001", [_ROW])
        for method in ("send", "write", "writev", "sendto", "sendmsg", "sendfile")
    },
    "UDP over IPv6, connected": (f"{{folder}}/sockets send udp {TARGET_6} 7001", [replace(_ROW, address=TARGET_6)]),
    "UDP over IPv6": (f"{{folder}}/sockets sendto udp {TARGET_6} 7001", [replace(_ROW, address=TARGET_6)]),
    "UDP through an IPv6 socket, connected": (f"{{folder}}/sockets send udp ::ffff:{TARGET} 7001", [_ROW]),
    "UDP through an IPv6 socket": (f"{{folder}}/sockets sendmsg udp ::ffff:{TARGET} 7001", [_ROW]),
    "UDP with sendmmsg to three ports": (f"{{folder}}/sockets sendmmsg udp {TARGET} 7001", _THREE),
    "UDP with io_uring": (f"{{folder}}/sockets uring udp {TARGET} 7001", [_ROW]),
    "UDP with io_uring and a thread that submits": (f"{{folder}}/sockets uring-thread udp {TARGET} 7001", [_ROW]),
    "UDP with io_uring and a thread that works": (f"{{folder}}/sockets uring-worker udp {TARGET} 7001", [_ROW]),
    "UDP with io_uring to three ports at once": (f"{{folder}}/sockets uring-batch udp {TARGET} 7001", _THREE),
    "UDP with io_uring to three ports in turn": (f"{{folder}}/sockets uring-chain udp {TARGET} 7001", _THREE),
    "a UDP socket that is connected and sends nothing": (f"{{folder}}/sockets connect udp {TARGET} 7001", []),
    "dig": (f"dig @{TARGET} {NAME}", [replace(_ROW, executable=program("dig"), port=53)]),
    "ping": (f"ping -c 2 -i 0.1 -W 5 {TARGET}", [_PING]),
    "ping over IPv6": (f"ping -c 1 -W 5 {TARGET_6}", [replace(_PING, address=TARGET_6)]),
    "a raw socket": (f"{{folder}}/sockets sendto raw {TARGET} 0", [replace(_ROW, protocol="raw", port=None)]),
    "a raw socket over IPv6": (
        f"{{folder}}/sockets sendto raw {TARGET_6} 0",
        [replace(_ROW, protocol="raw", address=TARGET_6, port=None)],
    ),
    "nmap -sS": (f"nmap -sS -Pn -n --disable-arp-ping --send-ip -p 7001,{CLOSED_PORT} {TARGET}", [_NMAP]),
    "nmap -sU": (f"nmap -sU -Pn -n --disable-arp-ping --send-ip -p 7001,{CLOSED_PORT} {TARGET}", [_NMAP]),
}


def _expected(network: Network, row: Row) -> Row:
    return replace(row, executable=(row.executable or "").format(folder=network.folder))


@pytest.mark.parametrize("name", _SCENARIOS)
def test_each_flow_is_seen_once_under_its_program(network: Network, watch: Watch, name: str) -> None:
    """Protocol, executable, user, address and port are right, and nothing else is seen."""
    command, rows = _SCENARIOS[name]
    said = network.run("bastion", *command.format(folder=network.folder).split())
    assert watch.outbound(*_ADDRESSES) == [_expected(network, row) for row in rows], said


def test_ping_without_privileges_is_icmp_too(network: Network, watch: Watch) -> None:
    """Where the kernel lets everybody ping, no raw socket is used."""
    network.run("bastion", "sh", "-c", "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range")
    said = network.run("bastion", "ping", "-c", "1", "-W", "5", TARGET, user=ALICE)
    assert watch.outbound(*_ADDRESSES) == [replace(_PING, user=ALICE)], said


def test_what_goes_below_ip_has_no_address(network: Network, watch: Watch) -> None:
    """AF_PACKET: the program is known, its destination is not."""
    said = network.run("bastion", network.folder / "sockets", "sendto", "packet", "target", "0")
    row = _expected(network, replace(_ROW, protocol="packet", address=None, port=None))
    assert [each for each in watch.outbound(None) if each.executable == row.executable] == [row], said


def test_nmap_as_it_is_has_all_its_packets_seen(network: Network, watch: Watch) -> None:
    """It asks for the target's hardware address below IP, then scans: both are its own, and nothing else is."""
    said = network.run("bastion", "nmap", "-sS", "-n", "-p", f"7001,{CLOSED_PORT}", TARGET)
    rows = [each for each in watch.outbound(TARGET, None) if each.executable == _NMAP.executable]
    assert rows, said
    assert {row.protocol for row in rows} <= {"raw", "packet"}


def test_packets_that_routing_prohibits_are_a_flow_that_failed(network: Network, watch: Watch) -> None:
    """The socket tried to send; where the kernel shows it, each packet that it refused is counted."""
    said = network.run("bastion", network.folder / "sockets", "sendto", "udp", PROHIBITED, "7001")
    shown = Path("/sys/kernel/tracing/events/sock/sock_send_length").exists()
    row = _expected(network, replace(_ROW, address=PROHIBITED, failed=3 if shown else 0))
    assert watch.outbound(*_ADDRESSES) == [row], said


def test_two_sockets_are_two_flows_and_each_snapshot_counts_them_anew(network: Network, watch: Watch) -> None:
    """A socket that goes on sending is one flow in each snapshot."""
    command = (network.folder / "sockets", "send-when-told", "udp", TARGET, "7001")
    one, other = network.start("bastion", *command), network.start("bastion", *command)
    row = _expected(network, _ROW)
    rows = []
    for senders in ((one, other, one), (one,), ()):
        for sender in senders:
            assert tell(sender) == "sent\n"
        rows.append(watch.outbound(TARGET))
    assert rows == [[replace(row, attempted=2)], [row], []]
