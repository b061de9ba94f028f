"""Whose DNS answers are believed: nobody without privileges can name an address by being asked."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.bpf.answers import DnsAnswer

_CONFIGURATION = Path("/etc/resolv.conf")
_FIRST_UNPRIVILEGED_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_LOOK_AGAIN_SECONDS = 1.0
# Accounts of services end below (SYS_UID_MAX of login.defs). `nobody` is left out: it may be anybody.
FIRST_ORDINARY_UID = 1000
_DNS_PORT = 53
_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_LOOPBACK = _MAPPED + b"\x7f"
_LOOPBACK = bytes(15) + b"\x01"


class Refusal(StrEnum):
    """Why an answer is not believed."""

    SERVER = "from a server that this host does not use"
    NAMESPACE = "in another network namespace"
    STREAM = "over TCP, to an ordinary account"
    UNCONNECTED = "to an ordinary account's socket that takes packets of anybody"


class Resolvers:
    """The name servers that this host uses, followed as they change.

    Args:
        configuration: names the servers, as resolv.conf(5) says.
        first_unprivileged_port: holds the first port that ordinary accounts may listen on.
    """

    def __init__(
        self, configuration: Path = _CONFIGURATION, first_unprivileged_port: Path = _FIRST_UNPRIVILEGED_PORT
    ) -> None:
        self._configuration = configuration
        self._first_unprivileged_port = first_unprivileged_port
        self._read: tuple[int, int, int] | None = None
        self._servers: frozenset[bytes] = frozenset()
        self._loopback_is_privileged = False
        self._look_again = float("-inf")

    def refusal(self, answer: DnsAnswer, now: float) -> Refusal | None:
        """Why `answer` is not believed, None if it is. `now` is in seconds of a clock that never goes back."""
        if now >= self._look_again:
            self._look_again = now + _LOOK_AGAIN_SECONDS
            self._look()
        service = answer.uid < FIRST_ORDINARY_UID
        if answer.tcp and not service:
            # Who reads a stream chooses where a read begins: in the text of a TXT record of its own, say, which looks
            # like an answer.
            return Refusal.STREAM
        if not (answer.connected or service):
            # It asked the server, but what came may be anybody's.
            return Refusal.UNCONNECTED
        used = answer.server in self._servers
        loopback = answer.server.startswith(_MAPPED_LOOPBACK) or answer.server == _LOOPBACK
        if not answer.host_network:
            # `unshare --user --net` gives anybody a network in which any address is theirs.
            return None if service and used and not loopback else Refusal.NAMESPACE
        if used or service or (loopback and self._loopback_is_privileged):
            return None
        return Refusal.SERVER

    def _look(self) -> None:
        try:
            self._loopback_is_privileged = int(self._first_unprivileged_port.read_bytes()) > _DNS_PORT
            status = self._configuration.stat()
            read = (status.st_mtime_ns, status.st_ino, status.st_size)
            if read != self._read:
                self._servers = name_servers(self._configuration.read_text(encoding="utf-8", errors="replace"))
                self._read = read
        except OSError:
            # No server is known while there is no such file; what is refused for it is counted.
            self._servers, self._read = frozenset(), None


def name_servers(configuration: str) -> frozenset[bytes]:
    """Addresses of the servers that a resolv.conf(5) names, 16 bytes each, IPv4 mapped."""
    servers = set()
    for line in configuration.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                try:
                    address = ip_address(server.partition("%")[0])
                except ValueError:
                    continue  # the resolver passes it over, too
                servers.add(address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed)
    return frozenset(servers)
