"""What the models look at in an observation.

A *subject* is something whose past matters: a destination, a port, a user with an executable … The state of each is
learnt (see `state`); this module says which subjects a row has and what the isolation forest reads from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import Direction, Protocol
from detector.models.endpoints import Endpoint, Endpoints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy.typing as npt

    from detector.domain import ConnectionKey, StoredCount
    from detector.models.facts import Facts
    from detector.models.state import Subjects

_CONNECTING = (Protocol.TCP, Protocol.SCTP)
_WEB_PORTS = frozenset({80, 443})
_CREDITED = 0.2  # of the largest row; docs/models.md, "Volume": the share of the host's volume that a row answers for
FAMILIAR_OF_KEY = ("user", "executable", "user_executable", "executable_port", "user_network", "executable_class")
"""What is learnt of who connects, whenever that is."""
_FAMILIAR = (*FAMILIAR_OF_KEY, "user_clock_hour")
CLOCK_HOUR = _FAMILIAR.index("user_clock_hour")
"""The column of the person's hour of the day in what is learnt of who connects."""
_FAMILIAR_ENDPOINTS = ("pair", "destination", "port")
ENDPOINT = ("pair", "destination", "network", "port", "address_class")
"""What is learnt of an endpoint."""
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


TRAITS = (
    "outbound",
    "attempts",
    "connecting",
    "web",
    "address_class",
    "port_number",
    "switched_user",
    "root",
    "login",
    "container",
    "named_executable",
    "named_user",
)
"""What a key is like: numbers; 0 or 1 but for the class and the port. `attempts`: its attempts are what is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """The rows of a snapshot (n) by their endpoints (m)."""

    endpoints: Sequence[Endpoint]
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
    first: npt.NDArray[np.int64]
    """(m,) the first row of each endpoint."""
    failed_share: npt.NDArray[np.float64]
    """(n,) of what ended of a row, how much failed."""
    credited: npt.NDArray[np.bool_]
    """(n,) whether the row answers for its endpoint's volume: it made at least a fifth of what the largest row did."""


def arrange(counts: Sequence[StoredCount], facts: Facts) -> Arranged:
    """Groups rows by endpoint; connects and flows to one add up."""
    first, endpoint_of = groups(facts.endpoint[:, 0])
    endpoints = len(first)
    numbers = [
        (count.attempted, count.established, count.refused + count.timed_out + count.failed)
        for count in [stored.count for stored in counts]
    ]
    attempted, established, failed = np.array(numbers, dtype=np.float64).reshape(len(counts), 3).T
    connecting = facts.trait("connecting") > 0
    connects = np.where(facts.trait("attempts"), attempted, established)
    # A flow has no end, and each send in it may fail.
    succeeded = np.where(connecting, established, np.maximum(attempted - failed, 0.0))
    ended = succeeded + failed
    largest = np.zeros(endpoints)
    np.maximum.at(largest, endpoint_of, connects)
    return Arranged(
        endpoints=Endpoints(
            [counts[row].count.key for row in first.tolist()],
            np.bincount(endpoint_of[connecting], minlength=endpoints) > 0,
            np.bincount(endpoint_of[~connecting], minlength=endpoints) > 0,
        ),
        endpoint_of=endpoint_of,
        first=first,
        outbound=facts.trait("outbound")[first] > 0,
        web=facts.trait("web")[first] > 0,
        connects=_per_endpoint(endpoint_of, connects, endpoints),
        failed=_per_endpoint(endpoint_of, failed, endpoints),
        ended=_per_endpoint(endpoint_of, ended, endpoints),
        failed_share=np.divide(failed, ended, out=np.zeros(len(counts)), where=failed > 0),
        credited=connects >= _CREDITED * largest[endpoint_of],
    )


def groups(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows (n,) of one number are a group: the first row of each (m,), in order, and the group of each row (n,)."""
    _, first, group_of = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[group_of]


def _per_endpoint(
    endpoint_of: npt.NDArray[np.int64], amounts: npt.NDArray[np.float64], endpoints: int
) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = np.bincount(endpoint_of, weights=amounts, minlength=endpoints).astype(np.float64)
    return total


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


def number_endpoint(subjects: Subjects, end: Endpoint) -> tuple[int, ...]:
    """Numbers what is learnt of an endpoint, as ENDPOINT names it."""
    return (
        subjects.number("pair", end.outbound, end.subject, end.port),
        subjects.number("destination", end.outbound, end.subject),
        subjects.number("network", end.outbound, end.place.network),
        subjects.number("port", end.outbound, end.port),
        subjects.number("address_class", end.outbound, end.place.address_class),
    )


def of_endpoints(facts: Facts, arranged: Arranged) -> EndpointSubjects:
    """What is learnt of a snapshot's endpoints."""
    return EndpointSubjects(**dict(zip(ENDPOINT, facts.endpoint[arranged.first].T, strict=True)))


def person_of(key: ConnectionKey) -> str | None:
    """Who is behind a connection: the login user, which stays the same through sudo and su, else the account."""
    return key.user if key.login_user is None else key.login_user


def traits(key: ConnectionKey, end: Endpoint) -> tuple[int, ...]:
    """What a key is like, as TRAITS names it."""
    connecting = key.protocol in _CONNECTING
    return (
        end.outbound,
        # Attempts and flows going out, accepted connections coming in.
        end.outbound or not connecting,
        connecting,
        end.port in _WEB_PORTS,
        end.place.address_class,
        end.port_number,
        key.login_user is not None and key.user != key.login_user,
        key.user in ("root", "0"),
        key.login_user is not None,
        key.container is not None,
        end.outbound and key.executable is not None,
        end.outbound and person_of(key) is not None,
    )


def number_familiar(subjects: Subjects, key: ConnectionKey, end: Endpoint) -> tuple[int, ...]:
    """Numbers what is learnt of who connects, as FAMILIAR_OF_KEY names it."""
    person, outbound, where = person_of(key), end.outbound, end.place
    return (
        subjects.number("user", outbound, person),
        subjects.number("executable", outbound, key.executable),
        subjects.number("user_executable", outbound, person, key.executable),
        subjects.number("executable_port", outbound, key.executable, end.port),
        subjects.number("user_network", outbound, person, where.network),
        subjects.number("executable_class", outbound, key.executable, where.address_class),
    )


def familiar_now(
    subjects: Subjects, counts: Sequence[StoredCount], facts: Facts, moment: datetime
) -> npt.NDArray[np.int64]:
    """What is learnt of who connects, with the person's hour of the day; (n, 7), columns as FEATURES names them."""
    # A person in one direction has one number, and few have many rows.
    first, person_of_row = groups(facts.familiar[:, 0])
    keys = [counts[row].count.key for row in first.tolist()]
    at_hour = [
        subjects.number("user_clock_hour", key.direction is Direction.OUTBOUND, person_of(key), moment.hour)
        for key in keys
    ]
    return np.concatenate([facts.familiar, np.array(at_hour, dtype=np.int64)[person_of_row][:, np.newaxis]], axis=1)


def matrix(
    facts: Facts,
    arranged: Arranged,
    subjects: Subjects,
    familiar: npt.NDArray[np.int64],
    *,
    moment: datetime,
    observed_hours: float,
) -> npt.NDArray[np.float32]:
    """The isolation forest's input, (n, len(FEATURES)), as things stood before this snapshot."""
    angle = 2 * math.pi * (moment.hour + moment.minute / 60) / 24
    given: dict[str, npt.ArrayLike] = {
        "inbound": 1 - facts.trait("outbound"),
        "port_number": np.log1p(facts.trait("port_number")),
        "clock_sine": math.sin(angle),
        "clock_cosine": math.cos(angle),
        "failed_share": arranged.failed_share,
    }
    rows = np.empty((len(familiar), len(FEATURES)), dtype=np.float32)
    for column, name in enumerate(_PLAIN):
        rows[:, column] = np.asarray(given[name]) if name in given else facts.trait(name)
    ends = facts.endpoint[:, [ENDPOINT.index(name) for name in _FAMILIAR_ENDPOINTS]]
    hours = subjects.values["hours"][np.concatenate([familiar, ends], axis=1)]
    possible = np.full(hours.shape[1], observed_hours)
    possible[CLOCK_HOUR] /= 24
    rows[:, len(_PLAIN) :] = -np.log10((hours + 0.5) / (possible + 1.0))
    return rows
