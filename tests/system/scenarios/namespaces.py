"""Three hosts in network namespaces: a client, a bastion, and a target behind it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_SECONDS = 60.0
"""How long a program may take: far more than it needs, since processors are emulated in some places."""

CLIENT, OTHER_CLIENT, CLIENT_6 = "198.51.100.2", "198.51.100.3", "2001:db8:1::2"
BASTION, BASTION_6 = "198.51.100.1", "2001:db8:1::1"
"""The bastion as clients see it; targets see `BASTION_INSIDE`."""
BASTION_INSIDE, BASTION_INSIDE_6 = "203.0.113.1", "2001:db8:2::1"
TARGET, TARGET_6 = "203.0.113.2", "2001:db8:2::2"
NAMED_TARGET = "203.0.113.3"
"""An address of the target that is reached by `NAME` alone."""
NAME = "www.example.test"
PROHIBITED, UNREACHABLE = "192.0.2.65", "192.0.2.129"
"""Addresses that the bastion's routing table refuses."""

_OWN_LOGIN = Path("/proc/self/loginuid")
_NOBODY = str(0xFFFFFFFF)


class Network:
    """The namespaces, once they are made; each program runs in one of them by the name of its host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Open to all users, and gone at the end."""
        self._ending = ExitStack()

    @property
    def resolv_conf(self) -> Path:
        """The bastion's resolv.conf, which `ip netns exec` lays over /etc/resolv.conf."""
        return Path("/etc/netns") / self.namespace("bastion") / "resolv.conf"

    def namespace(self, host: str) -> str:
        """The name of a host's namespace."""
        return f"detector-{host}-{os.getpid()}"

    def inside(self, host: str, user: str = "root") -> list[str]:
        """The command prefix that runs a program on `host` as `user`, without a process of its own."""
        prefix = ["ip", "netns", "exec", self.namespace(host)]
        if user == "root":
            return prefix
        return [*prefix, "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]

    def run(self, host: str, *command: str | Path, user: str = "root", text: str = "") -> str:
        """Runs a program to its end, whatever that is; gives what it printed."""
        done = subprocess.run(
            [*self.inside(host, user), *map(str, command)],
            input=text, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, cwd="/",
        )  # fmt: skip
        return done.stdout + done.stderr

    def start(self, host: str, *command: str | Path, user: str = "root") -> subprocess.Popen[str]:
        """Starts a program that reads and writes lines; it is ended with the network."""
        process = subprocess.Popen(
            [*self.inside(host, user), *map(str, command)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        )  # fmt: skip
        self._ending.enter_context(process)
        self._ending.callback(process.kill)
        return process

    def close(self) -> None:
        """Ends what was started."""
        self._ending.close()


def until(condition: Callable[[], object]) -> None:
    """Waits for what other processes do, which have no other way to tell."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s in vain"
        time.sleep(0.02)


def tell(process: subprocess.Popen[str]) -> str:
    """Sends a byte to a program, and waits for the line that it answers with."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(".")
    process.stdin.flush()
    return process.stdout.readline()


@contextmanager
def network() -> Iterator[Network]:
    """Makes the three hosts and their links, and removes all of it. Waits while another run has them."""
    with (
        _one_at_a_time(),
        _nobody_logged_in(),
        tempfile.TemporaryDirectory(prefix="detector-scenarios-") as folder,
        ExitStack() as ending,
    ):
        Path(folder).chmod(0o755)
        made = Network(Path(folder))
        for host in ("client", "bastion", "target"):
            name = made.namespace(host)
            _ip("netns", "add", name)
            ending.callback(_ip, "netns", "delete", name)
            _ip("-n", name, "link", "set", "lo", "up")
        ending.callback(made.close)
        _link(made, ("client", (CLIENT, OTHER_CLIENT, CLIENT_6)), ("bastion", (BASTION, BASTION_6)))
        _link(made, ("bastion", (BASTION_INSIDE, BASTION_INSIDE_6)), ("target", (TARGET, NAMED_TARGET, TARGET_6)))
        for kind, address in (("prohibit", PROHIBITED), ("unreachable", UNREACHABLE)):
            _ip("-n", made.namespace("bastion"), "route", "add", kind, f"{address}/32")
        ending.enter_context(_resolving(made.resolv_conf))
        yield made


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _link(made: Network, *ends: tuple[str, Sequence[str]]) -> None:
    (here, _), (there, _) = ends
    names = made.namespace(here), made.namespace(there)
    _ip("-n", names[0], "link", "add", there, "type", "veth", "peer", "name", here, "netns", names[1])
    for (host, addresses), device in zip(ends, (there, here), strict=True):
        for address in addresses:
            # Duplicate address detection would take a second.
            length = ("/64", "nodad") if ":" in address else ("/24",)
            _ip("-n", made.namespace(host), "address", "add", address + length[0], "dev", device, *length[1:])
        _ip("-n", made.namespace(host), "link", "set", device, "up")


@contextmanager
def _resolving(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True)
    try:
        path.write_text(f"nameserver {TARGET}\n", encoding="ascii")
        yield
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        # Made along with it, unless others have theirs there.
        with suppress(OSError):
            path.parent.parent.rmdir()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """The addresses are the same in each run, and a collector sees all namespaces."""
    path = Path(tempfile.gettempdir()) / "detector-scenarios.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _nobody_logged_in() -> Iterator[None]:
    """What the tests start belongs to no login, even if whoever runs them has logged in."""
    before = _OWN_LOGIN.read_text(encoding="ascii")
    _OWN_LOGIN.write_text(_NOBODY, encoding="ascii")
    try:
        yield
    finally:
        _OWN_LOGIN.write_text(before, encoding="ascii")
