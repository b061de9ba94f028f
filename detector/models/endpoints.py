"""Where connections lead to, or come from: addresses by their class, and the endpoints of a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING, overload

from detector.domain import Direction, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from detector.domain import ConnectionKey, IPAddress

COMMON_PORTS = frozenset({53, 80, 123, 443, 853, 8080, 8443})
"""Ports that any host comes to use. Source: docs/models.md, "Novelty"."""

LOOPBACK, PRIVATE, PUBLIC, UNKNOWN = 0, 1, 2, 3
"""Address classes; UNKNOWN where the kernel did not show the address."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address lies: its 16 or 4 bytes, its /24 (IPv6: /64) and its class. No bytes: it is unknown."""

    packed: bytes
    network: bytes
    address_class: int


_LOCAL_NETWORKS = (
    (LOOPBACK, ("127.0.0.0/8", "::1/128")),
    (PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),  # RFC 1918, RFC 4193
    (PRIVATE, ("169.254.0.0/16", "fe80::/10")),  # link-local: RFC 3927, RFC 4291
    (PRIVATE, ("100.64.0.0/10",)),  # shared by a carrier's customers: RFC 6598
)
_LOCAL_RANGES = tuple(
    (network.version, int(network[0]), int(network[-1]), address_class)
    for address_class, texts in _LOCAL_NETWORKS
    for network in map(ip_network, texts)
)


@lru_cache(maxsize=4096)
def place(address: IPAddress | None) -> Place:
    """Classifies an address: loopback; private, link-local and shared; everything else that is known is public."""
    if address is None:
        return Place(b"", b"", UNKNOWN)
    number, version, packed = int(address), address.version, address.packed
    address_class = PUBLIC
    for of_version, lowest, highest, local_class in _LOCAL_RANGES:
        if of_version == version and lowest <= number <= highest:
            address_class = local_class
            break
    return Place(packed, packed[:3] if isinstance(address, IPv4Address) else packed[:8], address_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The far end of connections, and the port that they share.

    Outbound: a destination and its port. Inbound: the network that connections come from and the local port, since
    single sources of an internet-facing port are without number. An unknown address is a destination like others.
    """

    outbound: bool
    address: IPAddress | None
    place: Place
    port: int | Protocol
    """Where there is no port, the protocol stands for it; with one, protocols are not told apart."""
    what: str = "connects"
    """What goes there: "connects", "flows", or both."""

    @property
    def subject(self) -> bytes:
        """What stands for the far end: the address, or the network of an inbound connection."""
        return self.place.packed if self.outbound else self.place.network

    @property
    def service(self) -> str:
        """The port in words: "port 22", "icmp"."""
        return self.port.value if isinstance(self.port, Protocol) else f"port {self.port}"

    @property
    def port_number(self) -> int:
        """0 where there is no port."""
        return 0 if isinstance(self.port, Protocol) else self.port


def end_of(key: ConnectionKey, what: str = "connects") -> Endpoint:
    """The far end of a key's connections; `what` goes there."""
    outbound = key.direction is Direction.OUTBOUND
    port = key.remote_port if outbound else key.local_port
    return Endpoint(
        outbound=outbound,
        address=key.remote_address,
        place=place(key.remote_address),
        port=key.protocol if port is None else port,
        what=what,
    )


class Endpoints(Sequence[Endpoint]):
    """The endpoints of a snapshot, each made when it is asked for: of most nothing is to be said."""

    def __init__(
        self,
        keys: Sequence[ConnectionKey],
        connecting: npt.NDArray[np.bool_],
        flowing: npt.NDArray[np.bool_],
    ) -> None:
        """`keys`: of each endpoint (m) the first that goes there; `connecting` and `flowing` (m,): what else does."""
        self._keys, self._connecting, self._flowing = keys, connecting, flowing

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, number: int) -> Endpoint: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Endpoint]: ...

    def __getitem__(self, number: int | slice) -> Endpoint | Sequence[Endpoint]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        words = (("connects", self._connecting[number]), ("flows", self._flowing[number]))
        return end_of(self._keys[number], " and ".join(word for word, there in words if there))
