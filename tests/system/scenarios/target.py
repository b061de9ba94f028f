"""What serves on the target."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from tests.system.scenarios.namespaces import NAME, NAMED_TARGET, TARGET, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.system.scenarios.namespaces import Network

PYTHON = "/usr/bin/python3"
"""The distribution's: every user may run it, wherever the tests' own may be."""

OPEN_PORTS = range(7000, 7040)
"""TCP and UDP."""
MPTCP_PORT, SCTP_PORT = 7040, 7041
CLOSED_PORT = 7999
_IPPROTO_MPTCP = 262


@cache
def has_sctp() -> bool:
    """Whether the kernel speaks SCTP: Debian's does."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as fault:
        if fault.errno != errno.EPROTONOSUPPORT:
            raise
        return False
    return True


def serve_target(network: Network) -> None:
    """Starts servers for `OPEN_PORTS`, `MPTCP_PORT`, `SCTP_PORT` if the kernel has it, HTTP and DNS."""
    sctp = (socket.IPPROTO_SCTP, SCTP_PORT) if has_sctp() else ()
    serve(network, "target", OPEN_PORTS[0], OPEN_PORTS[-1], _IPPROTO_MPTCP, MPTCP_PORT, *sctp)
    web = network.folder / "web"
    web.mkdir()
    network.start("target", PYTHON, "-m", "http.server", "--bind", "::", "--directory", web, "80")
    network.start(
        "target", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--user=root", "--pid-file=", f"--listen-address={TARGET}", "--bind-interfaces",
        f"--host-record={NAME},{NAMED_TARGET}",
    )  # fmt: skip
    until(lambda: {"*:80", f"{TARGET}:53"} <= listening(network, "target"))


def serve(network: Network, host: str, *arguments: int, user: str = "root") -> subprocess.Popen[str]:
    """Starts programs/serve.py and waits until it serves."""
    process = network.start(host, PYTHON, network.folder / "serve.py", *map(str, arguments), user=user)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@contextmanager
def serving(network: Network, host: str, port: int, user: str) -> Iterator[None]:
    """Serves one port for a while."""
    process = serve(network, host, port, port, user=user)
    try:
        yield
    finally:
        # It ends with its input.
        process.communicate()


def listening(network: Network, host: str) -> set[str]:
    """The local addresses that accept TCP connections."""
    return {line.split()[3] for line in network.run(host, "ss", "-Hltn").splitlines()}
