"""What is captured of real connects by real programs, on the real kernel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.bpf.capture import Capture
from detector.collector.live import LiveCollector
from detector.domain import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.domain import ConnectionCount

    Counted = Callable[[int], ConnectionCount]

pytestmark = pytest.mark.kernel

# Room for so many paths and processes, where a test is to fill it.
_FEW = 200


def _copy(program: str, place: Path) -> Path:
    shutil.copy(program, place)
    return place


def test_a_refused_connect_names_the_program_behind_the_link_and_the_user(counted: Counted) -> None:
    """`nc` is a link to a link to nc.openbsd: the file that ran is named, and root who ran it."""
    subprocess.run(["nc", "-z", "-w1", "127.0.0.1", "11"], check=False)
    count = counted(11)
    assert count.key.executable == os.path.realpath(shutil.which("nc") or "")
    assert (count.key.command, count.key.user, str(count.key.remote_address)) == ("nc", "root", "127.0.0.1")
    assert (count.attempted, count.refused, count.established) == (1, 1, 0)


def test_an_accepted_connect_is_counted_at_both_ends_with_its_handshake_time(live: LiveCollector) -> None:
    """Outbound with a time, inbound under the port that listens and who does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
    counts = live.take().counts
    out = next(count for count in counts if count.key.remote_port == port)
    inbound = next(count for count in counts if count.key.local_port == port)
    assert (out.attempted, out.established) == (1, 1)
    assert 0 < out.handshake_us_total == out.handshake_us_max < 1_000_000
    assert inbound.key.direction is Direction.INBOUND
    assert (inbound.attempted, inbound.established) == (1, 1)
    assert (inbound.key.executable, inbound.key.user) == (os.path.realpath(sys.executable), "root")
    assert inbound.key.remote_port is None


def test_ipv6_and_mapped_addresses_are_what_they_are(live: LiveCollector) -> None:
    """::1 stays IPv6, ::ffff:127.0.0.1 is 127.0.0.1."""
    for address, port in (("::1", 12), ("::ffff:127.0.0.1", 13)):
        with socket.socket(socket.AF_INET6) as client:
            client.connect_ex((address, port))
    found = {count.key.remote_port: str(count.key.remote_address) for count in live.take().counts}
    assert (found[12], found[13]) == ("::1", "127.0.0.1")


def test_a_connect_that_nobody_answers_is_timed_out_and_one_given_up_is_failed(
    live: LiveCollector, blackhole: list[str]
) -> None:
    """The kernel's own time-out is told from a program that loses patience."""
    client = """
import socket
with socket.socket() as waits:
    waits.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
    assert waits.connect_ex(("10.99.0.2", 14)) == 110
with socket.socket() as gives_up:
    gives_up.settimeout(.1)
    gives_up.connect_ex(("10.99.0.2", 15))
"""
    subprocess.run([*blackhole, sys.executable, "-c", client], check=True)
    counts = {count.key.remote_port: count for count in live.take().counts}
    assert (counts[14].attempted, counts[14].timed_out, counts[14].failed) == (1, 1, 0)
    assert (counts[15].attempted, counts[15].timed_out, counts[15].failed) == (1, 0, 1)


def test_a_socket_connected_to_itself_is_one_established_attempt(counted: Counted) -> None:
    """TCP's simultaneous open passes through SYN_RECV, yet nobody was let in."""
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        port = client.getsockname()[1]
        client.connect(("127.0.0.1", port))
    count = counted(port)
    assert (count.attempted, count.established, count.failed) == (1, 1, 0)


def test_an_outcome_belongs_to_the_process_that_tried_even_in_a_later_snapshot(
    live: LiveCollector, blackhole: list[str]
) -> None:
    """The attempt is in one snapshot, the outcome in the next, under the same key."""
    client = """
import socket, sys
held = socket.socket()
held.setblocking(False)
held.connect_ex(("10.99.0.2", 16))
print("waiting", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [*blackhole, sys.executable, "-c", client], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        first = next(count for count in live.take().counts if count.key.remote_port == 16)
        process.communicate(b"")
    second = next(count for count in live.take().counts if count.key.remote_port == 16)
    assert first.key == second.key
    assert (first.attempted, first.failed, second.attempted, second.failed) == (1, 0, 0, 1)


def test_the_executable_is_the_file_that_runs_whatever_the_process_calls_itself(
    counted: Counted, tmp_path: Path
) -> None:
    """A copy in /tmp with another argv[0] and a name with control characters: path and name as they are."""
    copy = tmp_path / "in\x1b[31mnocent"
    shutil.copy(os.path.realpath(shutil.which("nc") or ""), copy)
    subprocess.run(["[kworker/0:1]", "-z", "127.0.0.1", "17"], executable=copy, check=False)
    count = counted(17)
    assert count.key.executable == str(copy)


def test_a_script_is_named_beside_its_interpreter(counted: Counted, tmp_path: Path) -> None:
    """What runs is the interpreter; what it was started for is said too."""
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable}\nimport socket\nsocket.socket().connect_ex(('127.0.0.1', 18))\n")
    script.chmod(0o755)
    subprocess.run([script], check=True)
    key = counted(18).key
    assert (key.executable, key.script) == (os.path.realpath(sys.executable), str(script))


def test_a_program_that_ran_before_the_capture_is_named_too() -> None:
    """Its start was not seen; its path is read when it connects."""
    client = "import socket, sys; sys.stdin.readline(); socket.socket().connect_ex(('127.0.0.1', 19))"
    with (
        subprocess.Popen([sys.executable, "-c", client], stdin=subprocess.PIPE) as process,
        Capture(map_entries=1024) as capture,
        LiveCollector(capture, "test-host") as live,
    ):
        process.communicate(b"\n")
        counts = live.take().counts
    found = [count.key.executable for count in counts if count.key.remote_port == 19]
    assert found == [os.path.realpath(sys.executable)]


def test_a_path_too_long_to_keep_loses_its_beginning_and_says_so(counted: Counted, tmp_path: Path) -> None:
    """An ellipsis in place of what is missing, and the end of the path intact."""
    folder = tmp_path
    for letter in "abcd":
        folder /= letter * 200
    folder.mkdir(parents=True)
    program = folder / "nc"
    shutil.copy(os.path.realpath(shutil.which("nc") or ""), program)
    subprocess.run([program, "-z", "127.0.0.1", "20"], check=False)
    executable = counted(20).key.executable or ""
    assert executable.startswith("…/")
    assert str(program).endswith(executable.removeprefix("…"))
    assert len(executable) > 200


def test_executables_stay_named_when_more_run_than_the_kernel_table_holds(tmp_path: Path) -> None:
    """The table of paths is emptied before it is full; old and new programs keep their names."""
    program = os.path.realpath(shutil.which("nc") or "")
    named = []
    with (
        Capture(map_entries=1024, named_entries=_FEW) as capture,
        LiveCollector(capture, "test-host") as live,
    ):
        for turn in range(30):
            for number in range(_FEW // 20):
                subprocess.run(
                    [_copy(program, tmp_path / f"other{turn}-{number}"), "-h"], check=False, capture_output=True
                )
            for each in (_copy(program, tmp_path / f"nc{turn}"), program):
                subprocess.run([each, "-z", "127.0.0.1", "21"], check=False)
            snapshot = live.take()
            named.append({count.key.executable for count in snapshot.counts if count.key.remote_port == 21})
            assert snapshot.losses.unnamed == 0
    assert named == [{str(tmp_path / f"nc{turn}"), program} for turn in range(30)]


def test_a_table_of_paths_filled_by_programs_that_never_connect_is_emptied(tmp_path: Path) -> None:
    """The first program after that may go unnamed, and that is said; the next are named again."""
    folder = tmp_path / "many"
    folder.mkdir()
    shutil.copy("/bin/true", folder / "true")
    # More than the kernel's table holds, each a path of its own.
    start = f"for i in $(seq 1 {2 * _FEW}); do ln true t$i && ./t$i && rm t$i; done"
    named = []
    with (
        Capture(map_entries=1024, named_entries=_FEW) as capture,
        LiveCollector(capture, "test-host") as live,
    ):
        subprocess.run(["sh", "-c", start], cwd=folder, check=True)
        for turn in range(3):
            program = _copy(os.path.realpath(shutil.which("nc") or ""), tmp_path / f"nc{turn}")
            subprocess.run([program, "-z", "127.0.0.1", "25"], check=False)
            snapshot = live.take()
            found = [count.key.executable for count in snapshot.counts if count.key.remote_port == 25]
            named.append(found == [str(program)])
            assert found in ([str(program)], [None])
            assert (snapshot.losses.unnamed == 0) == named[-1]
    assert named[1:] == [True, True]


def test_the_login_user_survives_a_change_of_user(counted: Counted) -> None:
    """The audit login uid that pam_loginuid sets at login stays when the process becomes somebody else."""
    client = """
import os, socket
with open("/proc/self/loginuid", "w") as login:
    login.write("1")
os.setuid(65534)
socket.socket().connect_ex(("127.0.0.1", 22222))
"""
    subprocess.run([sys.executable, "-c", client], check=True)
    count = counted(22222)
    assert (count.key.login_user, count.key.user) == ("daemon", "nobody")
    assert count.session > 0


def test_the_control_group_gives_unit_and_session(live: LiveCollector) -> None:
    """A process in a login's scope is under the user's slice, with the session's number."""
    mounts = [line.split(" ") for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    root = next(where for _, where, kind, *_ in mounts if kind == "cgroup2")
    scope = Path(root) / "user.slice/user-4242.slice/session-77.scope"
    scope.mkdir(parents=True)
    try:
        subprocess.run(["sh", "-c", f"echo $$ > {scope}/cgroup.procs && exec nc -z 127.0.0.1 23"], check=False)
        count = next(count for count in live.take().counts if count.key.remote_port == 23)
    finally:
        for folder in (scope, scope.parent):
            folder.rmdir()
    assert (count.key.unit, count.session) == ("user-4242.slice", 77)


def test_loopback_can_be_left_out() -> None:
    """With exclude_loopback nothing of 127.0.0.0/8 or ::1 is in the snapshot."""
    with (
        Capture(map_entries=1024) as capture,
        LiveCollector(capture, "test-host", exclude_loopback=True) as live,
    ):
        for address in ("127.0.0.1", "::1"):
            subprocess.run(["nc", "-z", address, "24"], check=False)
        addresses = {count.key.remote_address for count in live.take().counts}
        assert not [address for address in addresses if address is not None and address.is_loopback]
