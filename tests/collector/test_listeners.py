"""Who listened before the capture began."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.bpf.capture import Capture
from detector.bpf.processes import UNKNOWN_ID
from detector.collector.listeners import Listening, listening, read_sctp, read_tcp
from detector.collector.live import LiveCollector
from detector.domain import Direction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.bpf.processes import Listener
    from detector.domain import ConnectionCount

# Listens on the addresses given, prints the ports, and ends when its standard input does.
_SERVER = """
import json, os, socket, sys
sockets = []
for address in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    each = socket.socket(family)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.bind((address, int(sys.argv[2])))
    each.listen()
    sockets.append(each)
workers = [os.fork() for _ in range(int(sys.argv[3]))]
if all(workers):
    print(json.dumps([each.getsockname()[1] for each in sockets]), flush=True)
sys.stdin.read()
"""


class Server:
    """A process that listens: its number, and its ports in the order of the addresses."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self.number = process.pid
        self.ports: list[int] = json.loads(process.stdout.readline())


@contextmanager
def _serving(
    *addresses: str,
    port: int = 0,
    workers: int = 0,
    within: tuple[str, ...] = (),
    program: str | Path = sys.executable,
    script: str = _SERVER,
) -> Iterator[Server]:
    command = [*within, str(program), "-c", script, json.dumps(addresses), str(port), str(workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.communicate("")


def _found(port: int) -> list[Listener]:
    return [each for each in listening() if each.port == port]


def _mapped(address: str) -> bytes:
    packed = ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"])
def test_who_listens_is_found_with_all_that_the_kernel_would_say(address: str) -> None:
    """Address as 16 bytes, this namespace, and the process by its own and its parent's file."""
    with _serving(address) as server:
        (found,) = _found(server.ports[0])
    assert (found.address, found.protocol) == (_mapped(address), socket.IPPROTO_TCP)
    assert found.network == Path("/proc/self/ns/net").stat().st_ino
    process = found.process
    python = os.path.realpath(sys.executable)
    assert (process.executable, process.parent_executable, process.script) == (python, python, None)
    assert (process.command, process.uid) == (Path(sys.executable).name, os.getuid())
    assert process.login_uid == int(Path("/proc/self/loginuid").read_text(encoding="ascii"))


def test_a_pre_forked_server_is_its_parent() -> None:
    """The workers hold the same socket, and have higher numbers."""
    with _serving("127.0.0.1", workers=3) as server:
        (found,) = _found(server.ports[0])
        status = Path(f"/proc/{server.number}/comm").read_text(encoding="ascii").strip()
    assert found.process.command == status
    assert found.process.parent_executable == os.path.realpath(sys.executable)


def test_sockets_that_share_a_port_are_found_one_by_one() -> None:
    """SO_REUSEPORT: the port stays theirs until the last is closed."""
    with _serving("127.0.0.1") as first, _serving("127.0.0.1", port=first.ports[0]):
        assert len(_found(first.ports[0])) == 2


def test_a_program_that_was_deleted_is_marked(tmp_path: Path) -> None:
    """As the kernel programs mark it."""
    copy = tmp_path / "served"
    shutil.copy("/bin/nc.openbsd", copy)
    with subprocess.Popen([copy, "-l", "127.0.0.1", "7311"]) as process:
        _until_listening(7311)
        copy.unlink()
        (found,) = _found(7311)
        process.kill()
    assert found.process.executable == f"{copy} (deleted)"


def test_the_login_and_its_session_are_those_of_the_process() -> None:
    """Whatever user it became."""
    as_nobody = "open('/proc/self/loginuid', 'w').write('1')\nimport os\nos.setuid(65534)\n" + _SERVER
    with _serving("127.0.0.1", script=as_nobody) as server:
        (found,) = _found(server.ports[0])
        session = int(Path(f"/proc/{server.number}/sessionid").read_text(encoding="ascii"))
    assert (found.process.login_uid, found.process.uid) == (1, 65534)
    assert found.process.session == session != UNKNOWN_ID


@pytest.mark.parametrize("sees_others", [False, True])
def test_what_may_not_be_looked_at_is_left_out_and_the_rest_is_found(sees_others: bool) -> None:
    """Without CAP_SYS_PTRACE other users' sockets have no owner; nobody is guessed."""
    held = "-all,+dac_read_search" + (",+sys_ptrace" if sees_others else "")
    as_nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    limited = (*as_nobody, "--bounding-set", held, "--inh-caps", held, "--ambient-caps", held)
    look = (
        "import json, sys\nfrom detector.collector.listeners import listening\n"
        "print(json.dumps([each.port for each in listening()]))"
    )
    with _serving("127.0.0.1") as roots, _serving("127.0.0.1", within=as_nobody) as own:
        command = [*limited, sys.executable, "-P", "-c", look]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert own.ports[0] in found
    assert (roots.ports[0] in found) == sees_others


def test_a_socket_that_outlives_who_opened_it_is_the_one_who_holds_it_still() -> None:
    """The worker that is left."""
    with _serving("127.0.0.1", workers=1) as server:
        os.kill(server.number, signal.SIGKILL)
        (found,) = _found(server.ports[0])
    assert found.process.executable == os.path.realpath(sys.executable)


def test_processes_that_come_and_go_do_no_harm() -> None:
    """What is there all the time is found each time."""
    with subprocess.Popen(["sh", "-c", "while :; do true & true & true; done"], stderr=subprocess.DEVNULL) as storm:
        try:
            with _serving("127.0.0.1", workers=2) as server:
                for _ in range(20):
                    assert len(_found(server.ports[0])) == 1
        finally:
            storm.kill()


@pytest.mark.kernel
def test_a_connection_says_who_listened_before_the_capture_as_it_says_who_began_after_it() -> None:
    """The same server, one user with the rights of another, started on either side of the beginning: the same row."""
    setuid = "import os\nos.setresuid(1, 65534, 65534)\n" + _SERVER
    with _serving("0.0.0.0", "::", script=setuid) as before, Capture(map_entries=1024) as capture:
        capture.add_listeners(listening())
        with _serving("0.0.0.0", "::", script=setuid) as after, LiveCollector(capture, "test-host") as live:
            for server in (before, after):
                for address, port in zip(("127.0.0.1", "::1"), server.ports, strict=True):
                    socket.create_connection((address, port)).close()
            counts = live.take().counts
    old, new = ([_inbound(counts, port) for port in server.ports] for server in (before, after))
    assert [str(each.key.remote_address) for each in old] == ["127.0.0.1", "::1"]
    assert {each.key.executable for each in old} == {os.path.realpath(sys.executable)}
    assert [replace(each.key, local_port=None) for each in old] == [replace(each.key, local_port=None) for each in new]
    assert [each.session for each in old] == [each.session for each in new]


@pytest.mark.kernel
def test_a_listener_of_another_namespace_owns_its_port_there_alone(blackhole_name: str) -> None:
    """The same port listens here under another user's name."""
    within = ("ip", "netns", "exec", blackhole_name)
    as_nobody = ("setpriv", "--reuid", "65534", "--clear-groups")
    with (
        _serving("::", within=within) as there,
        _serving("::", port=there.ports[0], within=as_nobody),
        Capture(map_entries=1024) as capture,
    ):
        capture.add_listeners(listening())
        with LiveCollector(capture, "test-host") as live:
            users = []
            for prefix in (within, ()):
                subprocess.run([*prefix, "nc", "-z", "127.0.0.1", str(there.ports[0])], check=True)
                users.append(_inbound(live.take().counts, there.ports[0]).key.user)
    assert users == ["root", "nobody"]


@pytest.fixture
def blackhole_name() -> Iterator[str]:
    """A network namespace with nothing but its loopback."""
    name = f"detector-listeners-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def _inbound(counts: tuple[ConnectionCount, ...], port: int) -> ConnectionCount:
    (found,) = (each for each in counts if each.key.local_port == port)
    assert found.key.direction is Direction.INBOUND
    return found


def _until_listening(port: int) -> None:
    while not _found(port):
        pass


def _as_the_kernel_writes(address: IPv4Address | IPv6Address, port: int, inode: int, state: str) -> bytes:
    packed = address.packed
    words = "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", packed))
    nobody = "0" * len(words)
    return (
        f"   0: {words}:{port:04X} {nobody}:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 "
        f"{inode} 1 00000000a19956f4 100 0 0 10 0\n"
    ).encode()


@given(
    st.lists(st.tuples(st.ip_addresses(), st.integers(0, 65535), st.integers(1, 2**32 - 1))),
    st.lists(st.tuples(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 2**32 - 1))),
)
def test_every_socket_that_listens_is_read_and_no_connection(
    listeners: list[tuple[IPv4Address | IPv6Address, int, int]],
    connections: list[tuple[IPv4Address | IPv6Address, int, int]],
) -> None:
    """The kernel writes the heading, those that listen, then the rest."""
    lines = [
        b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
        *(_as_the_kernel_writes(*each, state="0A") for each in listeners),
        *(_as_the_kernel_writes(*each, state="01") for each in connections),
    ]
    assert list(read_tcp(lines)) == [
        Listening(inode, _mapped(str(address)), port, socket.IPPROTO_TCP) for address, port, inode in listeners
    ]


def test_sctp_endpoints_that_listen_are_read_with_each_of_their_addresses() -> None:
    """As Linux 6.1 wrote it; the third is only bound."""
    lines = b""" ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS
da95aa5e f2b1c47b 2   10  26   5001      0 10994 0.0.0.0 
8acb5ec0 109c4d62 0   10  29   5004      0 10997 0000:0000:0000:0000:0000:0000:0000:0001 192.0.2.7 
ff3d9886 d5e41c97 0   7   31   5006      0 10999 127.0.0.1 
""".splitlines()  # noqa: W291  so it does
    assert list(read_sctp(lines)) == [
        Listening(10994, _mapped("0.0.0.0"), 5001, socket.IPPROTO_SCTP),
        Listening(10997, _mapped("::1"), 5004, socket.IPPROTO_SCTP),
        Listening(10997, _mapped("192.0.2.7"), 5004, socket.IPPROTO_SCTP),
    ]
