"""TCP connects by real programs, from a namespace of their own: once each, under who made them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios.namespaces import NAME, NAMED_TARGET, PROHIBITED, TARGET, TARGET_6, UNREACHABLE
from tests.system.scenarios.rows import Row, program
from tests.system.scenarios.sshd import ALICE
from tests.system.scenarios.target import CLOSED_PORT, MPTCP_PORT, PYTHON, SCTP_PORT, has_sctp

if TYPE_CHECKING:
    from tests.system.scenarios.namespaces import Network
    from tests.system.scenarios.watch import Watch

pytestmark = pytest.mark.kernel

_ADDRESSES = (TARGET, TARGET_6, PROHIBITED, UNREACHABLE)
_ROW = Row(executable="{folder}/sockets", address=TARGET, port=7001, established=1)
_REFUSED = replace(_ROW, established=0, refused=1)
_FAILED = replace(_ROW, established=0, failed=1)

_SCENARIOS = {
    "nc": (f"nc -z -w5 {TARGET} 7001", [replace(_ROW, executable=program("nc"))]),
    "nc, refused": (
        f"nc -z -w5 {TARGET} {CLOSED_PORT}",
        [replace(_REFUSED, executable=program("nc"), port=CLOSED_PORT)],
    ),
    "curl": (f"curl -s http://{TARGET}/", [replace(_ROW, executable=program("curl"), port=80)]),
    "curl over IPv6": (
        f"curl -s http://[{TARGET_6}]/",
        [replace(_ROW, executable=program("curl"), address=TARGET_6, port=80)],
    ),
    "dig over TCP": (f"dig +tcp @{TARGET} {NAME}", [replace(_ROW, executable=program("dig"), port=53)]),
    "nmap -sT": (
        f"nmap -sT -Pn -n -p 7001,7002,{CLOSED_PORT} {TARGET}",
        [
            replace(_ROW, executable=program("nmap")),
            replace(_ROW, executable=program("nmap"), port=7002),
            replace(_REFUSED, executable=program("nmap"), port=CLOSED_PORT),
        ],
    ),
    "an asyncio client, 100 connects at once": (
        f"{PYTHON} {{folder}}/asyncio_client.py {TARGET} 7001 100",
        [replace(_ROW, executable=program(PYTHON), attempted=100, established=100)],
    ),
    "a static program": (f"{{folder}}/sockets connect tcp {TARGET} 7001", [_ROW]),
    "IPv6": (f"{{folder}}/sockets connect tcp {TARGET_6} 7001", [replace(_ROW, address=TARGET_6)]),
    "IPv4 through an IPv6 socket": (f"{{folder}}/sockets connect tcp ::ffff:{TARGET} 7001", [_ROW]),
    "fast open": (f"{{folder}}/sockets fastopen tcp {TARGET} 7001", [_ROW]),
    "MPTCP": (f"{{folder}}/sockets connect mptcp {TARGET} {MPTCP_PORT}", [replace(_ROW, port=MPTCP_PORT)]),
    "MPTCP that falls back": (f"{{folder}}/sockets connect mptcp {TARGET} 7001", [_ROW]),
    "io_uring": (f"{{folder}}/sockets uring tcp {TARGET} 7001", [_ROW]),
    "io_uring, refused": (
        f"{{folder}}/sockets uring tcp {TARGET} {CLOSED_PORT}",
        [replace(_REFUSED, port=CLOSED_PORT)],
    ),
    "io_uring with a thread that submits": (f"{{folder}}/sockets uring-thread tcp {TARGET} 7001", [_ROW]),
    "io_uring with a thread that works": (f"{{folder}}/sockets uring-worker tcp {TARGET} 7001", [_ROW]),
    "prohibited by routing": (
        f"{{folder}}/sockets connect tcp {PROHIBITED} 7001",
        [replace(_FAILED, address=PROHIBITED)],
    ),
    "unreachable by routing": (
        f"{{folder}}/sockets connect tcp {UNREACHABLE} 7001",
        [replace(_FAILED, address=UNREACHABLE)],
    ),
    "prohibited by routing, through an IPv6 socket": (
        f"{{folder}}/sockets connect tcp ::ffff:{PROHIBITED} 7001",
        [replace(_FAILED, address=PROHIBITED)],
    ),
    "MPTCP, prohibited by routing": (
        f"{{folder}}/sockets connect mptcp {PROHIBITED} 7001",
        [replace(_FAILED, address=PROHIBITED)],
    ),
    "io_uring, unreachable by routing": (
        f"{{folder}}/sockets uring tcp {UNREACHABLE} 7001",
        [replace(_FAILED, address=UNREACHABLE)],
    ),
}

if has_sctp():
    _SCENARIOS |= {
        "SCTP": (
            f"{{folder}}/sockets connect sctp {TARGET} {SCTP_PORT}",
            [replace(_ROW, protocol="sctp", port=SCTP_PORT)],
        ),
        "SCTP, refused": (
            f"{{folder}}/sockets connect sctp {TARGET} {CLOSED_PORT}",
            [replace(_REFUSED, protocol="sctp", port=CLOSED_PORT)],
        ),
    }


@pytest.mark.parametrize("name", _SCENARIOS)
def test_each_connect_is_seen_once_under_its_program(network: Network, watch: Watch, name: str) -> None:
    """Executable, user, address, port and outcome are right, nobody has logged in, and nothing else is seen."""
    command, rows = _SCENARIOS[name]
    said = network.run("bastion", *command.format(folder=network.folder).split())
    expected = [replace(row, executable=(row.executable or "").format(folder=network.folder)) for row in rows]
    assert watch.outbound(*_ADDRESSES) == expected, said


def test_a_name_is_known_from_the_answer_that_curl_got(network: Network, watch: Watch) -> None:
    """One flow to the DNS server, and a connect that says which name was asked for."""
    said = network.run("bastion", "curl", "-s", f"http://{NAME}/")
    connect = replace(_ROW, executable=program("curl"), address=NAMED_TARGET, port=80, remote_name=NAME)
    question = Row(executable=program("curl"), address=TARGET, port=53, protocol="udp")
    assert watch.outbound(TARGET, NAMED_TARGET) == [question, connect], said


def test_processes_that_live_two_milliseconds_are_all_named(network: Network, watch: Watch) -> None:
    """100 programs that start, connect and end, one after the other: each is counted under its path and its parent."""
    loop = f"for i in $(seq 100); do {network.folder}/sockets connect tcp {TARGET} 7001; done"
    said = network.run("bastion", "sh", "-c", loop)
    row = replace(
        _ROW,
        executable=f"{network.folder}/sockets", parent_executable=program("sh"), attempted=100, established=100,
    )  # fmt: skip
    assert watch.outbound(TARGET) == [row], said


def test_a_user_who_has_not_logged_in_is_only_a_user(network: Network, watch: Watch) -> None:
    """A service's account has a user, and neither a login user nor an origin."""
    said = network.run("bastion", "nc", "-z", "-w5", TARGET, "7001", user=ALICE)
    assert watch.outbound(TARGET) == [replace(_ROW, executable=program("nc"), user=ALICE)], said
