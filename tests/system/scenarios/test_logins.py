"""Who logged in, from where, and as whom it goes on: Alice's way through a real sshd on the bastion."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios.namespaces import (
    BASTION,
    BASTION_6,
    BASTION_INSIDE,
    CLIENT,
    CLIENT_6,
    OTHER_CLIENT,
    TARGET,
)
from tests.system.scenarios.rows import Row, program
from tests.system.scenarios.sshd import ALICE, BOB, BOBS_PASSWORD
from tests.system.scenarios.target import PYTHON
from tests.system.scenarios.watch import watching

if TYPE_CHECKING:
    from tests.system.scenarios.namespaces import Network
    from tests.system.scenarios.sshd import Login
    from tests.system.scenarios.watch import Watch

pytestmark = pytest.mark.kernel

_SSHD = "/usr/sbin/sshd"


_NC = program("nc")
_CONNECT = f"nc -z -w5 {TARGET} 7001"
_ROW = Row(executable=_NC, address=TARGET, port=7001, user=ALICE, login_user=ALICE, login_address=CLIENT, established=1)
_PYTHON_CONNECT = f'import socket; socket.create_connection(("{TARGET}", 7001))'

_SESSIONS = {
    "a program of her own": (_CONNECT, _ROW),
    "curl": (
        f"curl -s http://{TARGET}/",
        replace(_ROW, executable=program("curl"), port=80),
    ),
    "a program in Python": (
        f"{PYTHON} -c '{_PYTHON_CONNECT}'",
        replace(_ROW, executable=program(PYTHON)),
    ),
    "the shell itself": (
        f"exec 3<>/dev/tcp/{TARGET}/7001",
        replace(_ROW, executable=program("bash"), parent_executable=_SSHD),
    ),
    "root through sudo": (
        f"sudo -n {_CONNECT}",
        replace(_ROW, user="root", parent_executable=program("sudo")),
    ),
    "another user through sudo": (
        f"sudo -n -u {BOB} {_CONNECT}",
        replace(_ROW, user=BOB, parent_executable=program("sudo")),
    ),
    "another user through su, with a password": (
        f"echo {BOBS_PASSWORD} | su - {BOB} -c '{_CONNECT}'",
        replace(_ROW, user=BOB, parent_executable=program("su")),
    ),
    "root through sudo su -, which clears the environment": (
        f"sudo -n su - -c '{_CONNECT}'",
        replace(_ROW, user="root", parent_executable=program("su")),
    ),
    "another user through root": (
        f"sudo -n su - -c \"su - {BOB} -c '{_CONNECT}'\"",
        replace(_ROW, user=BOB, parent_executable=program("su")),
    ),
    "a daemon that has left session and parent behind": (
        f"{PYTHON} {{folder}}/detach.py {_CONNECT}",
        _ROW,
    ),
    "a daemon of root's": (
        f"sudo -n {PYTHON} {{folder}}/detach.py {_CONNECT}",
        replace(_ROW, user="root"),
    ),
}


@pytest.mark.parametrize("name", _SESSIONS)
def test_whatever_alice_becomes_it_is_alice_from_her_client(
    network: Network, login: Login, watch: Watch, name: str
) -> None:
    """Each row has the user of the process, the user of the login, and the address that the login came from."""
    command, row = _SESSIONS[name]
    said = login.run(BASTION, command.format(folder=network.folder))
    assert watch.outbound(TARGET) == [row], said


def test_each_login_has_an_origin_of_its_own(login: Login, watch: Watch, network: Network) -> None:
    """Two logins of the same user at the same time, from two addresses."""
    sessions = {
        address: network.start("client", *login.command("-b", address, BASTION, f"echo; read; nc -z {TARGET} {port}"))
        for address, port in ((CLIENT, 7001), (OTHER_CLIENT, 7002))
    }
    for session in sessions.values():
        assert session.stdout
        session.stdout.readline()
    for session in sessions.values():
        session.communicate("\n")
    assert watch.outbound(TARGET) == [_ROW, replace(_ROW, port=7002, login_address=OTHER_CLIENT)]


def test_a_login_over_ipv6_has_its_origin_too(login: Login, watch: Watch) -> None:
    """The client's IPv6 address."""
    login.run(BASTION_6, _CONNECT)
    assert watch.outbound(TARGET) == [replace(_ROW, login_address=CLIENT_6)]


def test_how_the_origin_was_learnt_is_said(login: Login, watch: Watch) -> None:
    """With each origin comes its source; without one, none."""
    login.run(BASTION, _CONNECT)
    counts = watch.take()
    assert any(count.login_address for count in counts)
    assert all((count.login_address is None) == (not count.login_source) for count in counts)


def test_a_job_that_outlives_the_login_keeps_user_and_origin(login: Login, watch: Watch, network: Network) -> None:
    """It connects after the logout, when nothing of the session is left but the job."""
    go, done = network.folder / ALICE / "go", network.folder / ALICE / "done"
    for path in (go, done):
        os.mkfifo(path, 0o666)
        path.chmod(0o666)
    login.run(BASTION, f"nohup setsid sh -c 'read x <{go}; {_CONNECT}; echo >{done}' >/dev/null 2>&1 </dev/null &")
    assert watch.outbound(TARGET) == []
    go.write_text("\n")
    done.read_text()
    assert watch.outbound(TARGET) == [_ROW]


def test_sshd_connects_for_a_user_without_a_shell(login: Login, watch: Watch) -> None:
    """`ssh -W`: no command runs, sshd itself connects, as Alice."""
    login.run("-W", f"{TARGET}:7001", BASTION)
    assert watch.outbound(TARGET) == [replace(_ROW, executable=_SSHD, parent_executable=_SSHD)]


def test_a_jump_through_the_bastion_is_alices_at_both_hops(login: Login, watch: Watch) -> None:
    """ProxyJump: sshd connects from bastion to target as Alice; what she runs there came from the bastion."""
    login.run("-J", BASTION, TARGET, f"nc -z -w5 {BASTION_INSIDE} 22")
    assert watch.outbound(BASTION, TARGET, BASTION_INSIDE) == [
        Row(executable=program("ssh"), address=BASTION, port=22, parent_executable=program("ssh"), established=1),
        replace(_ROW, address=BASTION_INSIDE, port=22, login_address=BASTION_INSIDE),
        replace(_ROW, executable=_SSHD, port=22),
    ]


def test_a_session_that_nobody_came_to_has_no_origin(network: Network, watch: Watch) -> None:
    """As of cron: Alice is who it is for, and from nowhere."""
    session = 'echo $(id -u "$0") >/proc/self/loginuid; exec setpriv --reuid "$0" --clear-groups "$@"'
    network.run("bastion", "sh", "-c", session, ALICE, *_CONNECT.split())
    assert watch.outbound(TARGET) == [replace(_ROW, login_address=None)]


def test_a_login_from_before_the_capture_is_never_given_a_wrong_origin(login: Login, network: Network) -> None:
    """User and login user are right; the origin is right or unknown."""
    session = network.start("client", *login.command(BASTION, f"echo; read; {_CONNECT}"))
    assert session.stdout
    session.stdout.readline()
    with watching(network.resolv_conf) as later:
        session.communicate("\n")
        (row,) = later.outbound(TARGET)
    assert row.login_address in (CLIENT, None)
    assert replace(row, login_address=CLIENT) == _ROW


def test_an_origin_cannot_be_forged_by_what_a_session_leaves_behind(login: Login, network: Network) -> None:
    """What outlives a login from before the capture, and accepts a connection, has not come by that."""
    go = network.folder / ALICE / "forge"
    os.mkfifo(go)
    shutil.chown(go, ALICE)
    forge = f"{PYTHON} {network.folder}/forge.py {go} 7103 {TARGET} 7001"
    login.run(BASTION, f"nohup setsid {forge} >/dev/null 2>&1 </dev/null &")
    with watching(network.resolv_conf) as later:
        go.write_text("go", encoding="ascii")
        assert go.read_text(encoding="ascii") == "done"
        (row,) = later.outbound(TARGET)
    assert row.login_address in (CLIENT, None)
