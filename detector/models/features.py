"""What the models look at in an observation.

A *subject* is something whose past matters: a destination, a port, a user with an executable … The state of each is
learnt (see `state`); this module says which subjects a row has and what the isolation forest reads from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import Direction, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy.typing as npt

    from detector.domain import ConnectionCount, ConnectionKey, IPAddress, StoredCount
    from detector.models.state import Subjects

COMMON_PORTS = frozenset({53, 80, 123, 443, 853, 8080, 8443})
"""Ports that any host comes to use. Source: docs/models.md, "Novelty"."""

LOOPBACK, PRIVATE, PUBLIC, UNKNOWN = 0, 1, 2, 3
"""Address classes; UNKNOWN where the kernel did not show the address."""

_CONNECTING = (Protocol.TCP, Protocol.SCTP)
_WEB_PORTS = frozenset({80, 443})
_CREDITED = 0.2  # of the largest row; docs/models.md, "Volume": the share of the host's volume that a row answers for
_FAMILIAR = (
    "user",
    "executable",
    "user_executable",
    "executable_port",
    "user_network",
    "executable_class",
    "user_clock_hour",
)
CLOCK_HOUR = _FAMILIAR.index("user_clock_hour")
"""The column of the person's hour of the day in `number_familiar`."""
_FAMILIAR_ENDPOINTS = ("pair", "destination", "port")
_PLAIN = (
    "inbound",
    "address_class",
    "port_number",
    "clock_sine",
    "clock_cosine",
    "switched_user",
    "root",
    "login",
    "container",
    "failed_share",
)
FEATURES: tuple[str, ...] = (*_PLAIN, *_FAMILIAR, *_FAMILIAR_ENDPOINTS)
"""The columns of the isolation forest's input. From `user` on each is the surprise (-log10 of the share of observed
hours) of meeting that thing or combination. The size of a count is left to the volume channel on purpose: outside the
range of its training a forest cannot tell sizes apart (docs/models.md)."""


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


@lru_cache(maxsize=65_536)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """The rows of a snapshot (n) by their endpoints (m)."""

    endpoints: tuple[Endpoint, ...]
    endpoint_of: npt.NDArray[np.int64]
    """(n,) the number of each row's endpoint."""
    outbound: npt.NDArray[np.bool_]
    """(m,) whether each endpoint is one that this host connects to."""
    web: npt.NDArray[np.bool_]
    """(m,) whether the port is one of web pages, which lead to many destinations."""
    connects: npt.NDArray[np.float64]
    """(m,) connects to or from each endpoint."""
    failed: npt.NDArray[np.float64]
    """(m,) those that were refused, timed out or failed otherwise."""
    ended: npt.NDArray[np.float64]
    """(m,) those whose end was seen: these, and those that were established; flows less their failures."""
    credited: npt.NDArray[np.bool_]
    """(n,) whether the row answers for its endpoint's volume: it made at least a fifth of what the largest row did."""


def connects_of(stored: StoredCount) -> int:
    """How many connects a row counts: attempts and flows going out, accepted connections coming in."""
    count = stored.count
    attempts = count.key.direction is Direction.OUTBOUND or count.key.protocol not in _CONNECTING
    return count.attempted if attempts else count.established


def outcomes_of(count: ConnectionCount) -> tuple[int, int]:
    """How many connects of a row did not succeed, and how many ended at all."""
    failed = count.refused + count.timed_out + count.failed
    # A flow has no end, and each send in it may fail.
    succeeded = count.established if count.key.protocol in _CONNECTING else max(count.attempted - failed, 0)
    return failed, succeeded + failed


def arrange(counts: Sequence[StoredCount]) -> Arranged:
    """Groups rows by endpoint; connects and flows to one add up."""
    numbers: dict[tuple[bool, bytes, int | Protocol], int] = {}
    connecting: list[set[bool]] = []
    firsts: list[ConnectionKey] = []
    endpoint_of = np.zeros(len(counts), dtype=np.int64)
    of_row = np.array([connects_of(stored) for stored in counts], dtype=np.float64)
    for row, stored in enumerate(counts):
        key = stored.count.key
        outbound, where = key.direction is Direction.OUTBOUND, place(key.remote_address)
        name = (outbound, where.packed if outbound else where.network, _port(key))
        if name not in numbers:
            numbers[name] = len(firsts)
            firsts.append(key)
            connecting.append(set())
        connecting[numbers[name]].add(key.protocol in _CONNECTING)
        endpoint_of[row] = numbers[name]
    endpoints = tuple(_endpoint(key, some) for key, some in zip(firsts, connecting, strict=True))
    outcomes = np.array([outcomes_of(stored.count) for stored in counts], dtype=np.float64).reshape(len(counts), 2)
    failed, ended = (_per_endpoint(endpoint_of, outcomes[:, column], len(endpoints)) for column in (0, 1))
    largest = np.zeros(len(endpoints))
    np.maximum.at(largest, endpoint_of, of_row)
    return Arranged(
        endpoints=endpoints,
        endpoint_of=endpoint_of,
        outbound=np.array([endpoint.outbound for endpoint in endpoints], dtype=bool),
        web=np.array([endpoint.port in _WEB_PORTS for endpoint in endpoints], dtype=bool),
        connects=_per_endpoint(endpoint_of, of_row, len(endpoints)),
        failed=failed,
        ended=ended,
        credited=of_row >= _CREDITED * largest[endpoint_of],
    )


def _per_endpoint(
    endpoint_of: npt.NDArray[np.int64], amounts: npt.NDArray[np.float64], endpoints: int
) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = np.bincount(endpoint_of, weights=amounts, minlength=endpoints).astype(np.float64)
    return total


def _port(key: ConnectionKey) -> int | Protocol:
    port = key.remote_port if key.direction is Direction.OUTBOUND else key.local_port
    return key.protocol if port is None else port


def _endpoint(key: ConnectionKey, connecting: set[bool]) -> Endpoint:
    words = {True: "connects", False: "flows"}
    return Endpoint(
        outbound=key.direction is Direction.OUTBOUND,
        address=key.remote_address,
        place=place(key.remote_address),
        port=_port(key),
        what=" and ".join(words[each] for each in sorted(connecting, reverse=True)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSubjects:
    """The numbers of the subjects of m endpoints, each (m,)."""

    pair: npt.NDArray[np.int64]
    destination: npt.NDArray[np.int64]
    network: npt.NDArray[np.int64]
    port: npt.NDArray[np.int64]
    address_class: npt.NDArray[np.int64]

    @property
    def columns(self) -> tuple[npt.NDArray[np.int64], ...]:
        """All five, in the order above."""
        return (self.pair, self.destination, self.network, self.port, self.address_class)


def number_endpoints(subjects: Subjects, endpoints: Sequence[Endpoint]) -> EndpointSubjects:
    """Numbers what is learnt of endpoints."""
    numbers = np.array(
        [
            (
                subjects.number("pair", each.outbound, each.subject, each.port),
                subjects.number("destination", each.outbound, each.subject),
                subjects.number("network", each.outbound, each.place.network),
                subjects.number("port", each.outbound, each.port),
                subjects.number("address_class", each.outbound, each.place.address_class),
            )
            for each in endpoints
        ],
        dtype=np.int64,
    ).reshape(len(endpoints), 5)
    return EndpointSubjects(
        pair=numbers[:, 0],
        destination=numbers[:, 1],
        network=numbers[:, 2],
        port=numbers[:, 3],
        address_class=numbers[:, 4],
    )


def person_of(key: ConnectionKey) -> str | None:
    """Who is behind a connection: the login user, which stays the same through sudo and su, else the account."""
    return key.user if key.login_user is None else key.login_user


def number_familiar(
    subjects: Subjects, counts: Sequence[StoredCount], arranged: Arranged, moment: datetime
) -> npt.NDArray[np.int64]:
    """Numbers what is learnt of who connects; (n, 7), columns as FEATURES names them."""
    numbers = [
        _actor(subjects, stored.count.key, arranged.endpoints[endpoint], moment.hour)
        for stored, endpoint in zip(counts, arranged.endpoint_of.tolist(), strict=True)
    ]
    return np.array(numbers, dtype=np.int64).reshape(len(counts), len(_FAMILIAR))


def _actor(subjects: Subjects, key: ConnectionKey, endpoint: Endpoint, clock_hour: int) -> tuple[int, ...]:
    person = person_of(key)
    outbound, where = endpoint.outbound, endpoint.place
    return (
        subjects.number("user", outbound, person),
        subjects.number("executable", outbound, key.executable),
        subjects.number("user_executable", outbound, person, key.executable),
        subjects.number("executable_port", outbound, key.executable, endpoint.port),
        subjects.number("user_network", outbound, person, where.network),
        subjects.number("executable_class", outbound, key.executable, where.address_class),
        subjects.number("user_clock_hour", outbound, person, clock_hour),
    )


def matrix(
    counts: Sequence[StoredCount],
    arranged: Arranged,
    subjects: Subjects,
    endpoint_subjects: EndpointSubjects,
    familiar: npt.NDArray[np.int64],
    *,
    moment: datetime,
    observed_hours: float,
) -> npt.NDArray[np.float32]:
    """The isolation forest's input, (n, len(FEATURES)), as things stood before this snapshot."""
    angle = 2 * math.pi * (moment.hour + moment.minute / 60) / 24
    sine, cosine = math.sin(angle), math.cos(angle)
    plain = np.array(
        [
            _plain(stored, arranged.endpoints[endpoint], sine, cosine)
            for stored, endpoint in zip(counts, arranged.endpoint_of.tolist(), strict=True)
        ],
        dtype=np.float64,
    ).reshape(len(counts), len(_PLAIN))
    ends = np.stack([endpoint_subjects.pair, endpoint_subjects.destination, endpoint_subjects.port], axis=1)
    hours = subjects.values["hours"][np.concatenate([familiar, ends[arranged.endpoint_of]], axis=1)]
    possible = np.full(hours.shape[1], observed_hours)
    possible[CLOCK_HOUR] /= 24
    surprises = -np.log10((hours + 0.5) / (possible + 1.0))
    return np.concatenate([plain, surprises], axis=1).astype(np.float32)


def _plain(stored: StoredCount, endpoint: Endpoint, sine: float, cosine: float) -> tuple[float, ...]:
    count = stored.count
    key = count.key
    failed, ended = outcomes_of(count)
    return (
        float(not endpoint.outbound),
        float(endpoint.place.address_class),
        math.log1p(endpoint.port_number),
        sine,
        cosine,
        float(key.login_user is not None and key.user != key.login_user),
        float(key.user in ("root", "0")),
        float(key.login_user is not None),
        float(key.container is not None),
        failed / ended if failed else 0.0,
    )
