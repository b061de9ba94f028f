"""The hosts of the scenarios, what runs on them, and the one collector that watches."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.scenarios import namespaces, sshd
from tests.system.scenarios.target import serve_target
from tests.system.scenarios.watch import watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.scenarios.namespaces import Network
    from tests.system.scenarios.sshd import Login
    from tests.system.scenarios.watch import Watch

_PROGRAMS = Path(__file__).with_name("programs")
_C_FLAGS = ("-static", "-O1", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="package")
def network() -> Iterator[Network]:
    """The namespaces, with the test programs in the network's folder and servers on the target."""
    with namespaces.network() as made:
        for program in _PROGRAMS.glob("*.py"):
            shutil.copy(program, made.folder)
        subprocess.run(["gcc", *_C_FLAGS, "-o", made.folder / "sockets", _PROGRAMS / "sockets.c"], check=True)
        serve_target(made)
        yield made


@pytest.fixture(scope="package")
def login(network: Network) -> Iterator[Login]:
    """Alice and Bob, and Alice's way in: a real sshd on the bastion and on the target."""
    with sshd.accounts(network), sshd.sshd(network) as made:
        yield made


@pytest.fixture(scope="package")
def collector(network: Network, login: Login) -> Iterator[Watch]:  # noqa: ARG001  sshd is there before it
    """Starts last: who listens already must be known to it all the same."""
    with watching(network.resolv_conf) as made:
        yield made


@pytest.fixture
def watch(collector: Watch) -> Watch:
    """The collector, with nothing left of the scenario before."""
    collector.forget()
    return collector
