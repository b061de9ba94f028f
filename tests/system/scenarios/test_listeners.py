"""Inbound connections belong to who listens, whoever ran when the packet came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios.namespaces import (
    BASTION,
    BASTION_6,
    BASTION_INSIDE,
    BASTION_INSIDE_6,
    CLIENT,
    CLIENT_6,
    TARGET,
    TARGET_6,
)
from tests.system.scenarios.rows import Row, program
from tests.system.scenarios.sshd import ALICE, BOB
from tests.system.scenarios.target import MPTCP_PORT, PYTHON, serving

if TYPE_CHECKING:
    from tests.system.scenarios.namespaces import Network
    from tests.system.scenarios.sshd import Login
    from tests.system.scenarios.watch import Watch

pytestmark = pytest.mark.kernel

_ROW = Row(direction="inbound", executable=program(PYTHON), address=CLIENT, port=7101, established=1)
_SSHD = replace(_ROW, executable="/usr/sbin/sshd", port=22)


def test_a_login_is_inbound_to_sshd(login: Login, watch: Watch) -> None:
    """sshd listened before the capture began, and is named with its user."""
    login.run(BASTION, "true")
    assert watch.inbound(CLIENT) == [_SSHD]


def test_a_login_over_ipv6_is_inbound_from_an_ipv6_address(login: Login, watch: Watch) -> None:
    """sshd listens for IPv6 too."""
    login.run(BASTION_6, "true")
    assert watch.inbound(CLIENT_6) == [replace(_SSHD, address=CLIENT_6)]


@pytest.mark.parametrize("port", [7001, MPTCP_PORT])
def test_who_listened_before_the_capture_is_known(network: Network, watch: Watch, port: int) -> None:
    """A socket that listens for IPv6 takes IPv4 too, and MPTCP is counted once."""
    row = replace(_ROW, port=port)
    for address, source in ((TARGET, BASTION_INSIDE), (TARGET_6, BASTION_INSIDE_6)):
        network.run("bastion", network.folder / "sockets", "connect", "mptcp", address, str(port))
        assert watch.inbound(source) == [replace(row, address=source)]


def test_who_begins_to_listen_is_known(network: Network, watch: Watch) -> None:
    """A service of an ordinary user's, as whom nobody has logged in."""
    with serving(network, "bastion", 7101, ALICE):
        network.run("client", "nc", "-z", "-w5", BASTION, "7101")
    assert watch.inbound(CLIENT) == [replace(_ROW, user=ALICE)]


def test_a_port_that_changes_hands_is_its_new_owners(network: Network, watch: Watch) -> None:
    """First Alice listens, then Bob."""
    rows = []
    for user in (ALICE, BOB):
        with serving(network, "bastion", 7101, user):
            network.run("client", "nc", "-z", "-w5", BASTION, "7101")
        rows += watch.inbound(CLIENT)
    assert rows == [replace(_ROW, user=ALICE), replace(_ROW, user=BOB)]


def test_the_same_port_in_two_namespaces_has_two_owners(network: Network, watch: Watch) -> None:
    """Alice listens on the bastion, Bob on the target."""
    with serving(network, "bastion", 7101, ALICE), serving(network, "target", 7101, BOB):
        network.run("client", "nc", "-z", "-w5", BASTION, "7101")
        network.run("bastion", "nc", "-z", "-w5", TARGET, "7101")
    assert watch.inbound(CLIENT, BASTION_INSIDE) == [
        replace(_ROW, user=ALICE),
        replace(_ROW, address=BASTION_INSIDE, user=BOB),
    ]


def test_a_port_that_was_opened_in_a_session_is_the_logins(network: Network, login: Login, watch: Watch) -> None:
    """With the origin of who opened it."""
    session = network.start("client", *login.command(BASTION, f"{PYTHON} {network.folder}/serve.py 7102 7102"))
    assert session.stdout
    assert session.stdout.readline() == "ready\n"
    network.run("target", "nc", "-z", "-w5", BASTION_INSIDE, "7102")
    session.communicate()
    row = replace(_ROW, address=TARGET, port=7102, user=ALICE, login_user=ALICE, login_address=CLIENT)
    assert watch.inbound(TARGET) == [row]
