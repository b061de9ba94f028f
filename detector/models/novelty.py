"""The novelty channel: how seldom a host meets something of this kind for the first time.

A kind of discovery that came up in k of T observed hours comes up in the next with p = (θ + k) / (θ + T), the
discovery rate of a Chinese restaurant process (Pitman, "Combinatorial stochastic processes", 2006, §3.2). The θ of
each kind, the weights and the ageing are those of docs/models.md ("Novelty"). What was new stays strange for about a
day, and a destination that was strange lends most of that to its other ports.

Only outbound connections are judged: an internet-facing port meets new sources all day long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import Protocol
from detector.models import ageing
from detector.models.endpoints import COMMON_PORTS, PUBLIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from detector.models.endpoints import Endpoint
    from detector.models.features import EndpointSubjects
    from detector.models.state import Subjects

_PORT_HOURS = 6.0  # weight of the host's rate against a port's own
_INHERITED = 0.9
_NEW_CLASS_TOO = 0.3  # a new port on the first address of its class: half as likely again
_REGISTERED_FROM, _HIGH_FROM = 1024, 32_768
# The first hour meets everything for the first time: what it discovers says nothing about the hours to come.
_FIRST_COUNTED_HOUR = 1


class Novelty(StrEnum):
    """What is new about a connection."""

    DESTINATION = "destination"
    DESTINATION_IN_KNOWN_NETWORK = "destination_in_known_network"
    PAIR = "pair"
    PORT = "port"
    COMMON_PORT = "common_port"
    ADDRESS_CLASS = "address_class"


@dataclass(frozen=True, slots=True)
class Discovery:
    """A kind of discovery: its name in the state, what it is called, its θ, and whether ports differ in it."""

    name: str
    novelty: Novelty
    theta: float
    by_port: bool = False


_LOW_PORT = Discovery("low_port", Novelty.PORT, 0.05)
_REGISTERED_PORT = Discovery("registered_port", Novelty.PORT, 0.05)
_HIGH_PORT = Discovery("high_port", Novelty.PORT, 0.05)
_COMMON_PORT = Discovery("common_port", Novelty.COMMON_PORT, 0.5)
_ADDRESS_CLASS = Discovery("address_class", Novelty.ADDRESS_CLASS, 0.1)
_PAIR = Discovery("pair", Novelty.PAIR, 0.5, by_port=True)
_PUBLIC = Discovery("public", Novelty.DESTINATION, 1.0, by_port=True)
_PUBLIC_NEAR = Discovery("public_near", Novelty.DESTINATION_IN_KNOWN_NETWORK, 1.0, by_port=True)
_PRIVATE = Discovery("private", Novelty.DESTINATION, 0.2, by_port=True)
_PRIVATE_NEAR = Discovery("private_near", Novelty.DESTINATION_IN_KNOWN_NETWORK, 0.5, by_port=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoveltyScores:
    """What is new about m endpoints; one element for each."""

    surprise: npt.NDArray[np.float64]
    """-log10 of the probability that an hour of this host discovers something of the kind; 0: nothing is new."""
    own: npt.NDArray[np.float64]
    """The same without what the destination lends."""
    discoveries: tuple[Discovery | None, ...]
    """What kind of discovery this snapshot makes; None for an endpoint that is known."""
    found_seconds: npt.NDArray[np.float64]
    """Observed time of the discovery that the surprise stems from; this snapshot's for what is new."""


def judge(
    subjects: Subjects, endpoints: Sequence[Endpoint], numbers: EndpointSubjects, *, now_seconds: float
) -> NoveltyScores:
    """Scores endpoints as things stood before this snapshot. Numbers and loads what else it needs to know.

    Args:
        subjects: the loaded state.
        endpoints: m endpoints.
        numbers: their subjects.
        now_seconds: observed time at the snapshot's start.
    """
    discoveries = _discoveries(subjects, endpoints, numbers)
    _load_rates(subjects, endpoints, discoveries)
    values = subjects.values
    own = values["surprise"][numbers.pair] * ageing.left(ageing.age(subjects, numbers.pair, now_seconds))
    found = values["first_seconds"][numbers.pair]
    new = [position for position, discovery in enumerate(discoveries) if discovery is not None]
    own[new] = _new_surprises(subjects, endpoints, numbers, discoveries, now_seconds=now_seconds)
    found[new] = now_seconds
    ages = ageing.age(subjects, numbers.destination, now_seconds)
    lent = _INHERITED * values["surprise"][numbers.destination] * ageing.left(ages)
    found = np.where(lent > own, values["first_seconds"][numbers.destination], found)
    return NoveltyScores(surprise=np.maximum(own, lent), own=own, discoveries=discoveries, found_seconds=found)


def learn(
    subjects: Subjects,
    endpoints: Sequence[Endpoint],
    numbers: EndpointSubjects,
    scores: NoveltyScores,
    suspicious: npt.NDArray[np.bool_],
    *,
    hour: int,
    now_seconds: float,
) -> None:
    """Takes the discoveries of this snapshot into the state; those that are suspicious (m,) not as usual ones."""
    new = [position for position, discovery in enumerate(scores.discoveries) if discovery is not None]
    if not new:
        return
    if hour >= _FIRST_COUNTED_HOUR:
        events = {
            number
            for position in new
            if (discovery := scores.discoveries[position]) is not None and not suspicious[position]
            for number in (_rate(subjects, discovery), _port_rate(subjects, discovery, endpoints[position].port))
        }
        subjects.touch(np.fromiter(events, dtype=np.int64), hour=hour, now_seconds=now_seconds)
    values = subjects.values
    values["surprise"][numbers.pair[new]] = scores.own[new]
    values["surprise_seconds"][numbers.pair[new]] = now_seconds
    strangest = np.zeros(len(values))
    np.maximum.at(strangest, numbers.destination[new], scores.own[new])
    destinations = np.unique(numbers.destination[new])
    left = ageing.left(ageing.age(subjects, destinations, now_seconds))
    stranger = destinations[strangest[destinations] > values["surprise"][destinations] * left]
    values["surprise"][stranger] = strangest[stranger]
    values["surprise_seconds"][stranger] = now_seconds


def _discoveries(
    subjects: Subjects, endpoints: Sequence[Endpoint], numbers: EndpointSubjects
) -> tuple[Discovery | None, ...]:
    found: list[Discovery | None] = [None] * len(endpoints)
    unknown = np.flatnonzero(~subjects.known[numbers.pair])
    known = (subjects.known[each[unknown]].tolist() for each in numbers.columns)
    for position, _, destination, network, port, address_class in zip(unknown.tolist(), *known, strict=True):
        endpoint = endpoints[position]
        if endpoint.outbound:
            found[position] = _discovery(
                endpoint,
                port_known=port,
                class_known=address_class,
                destination_known=destination,
                network_known=network,
            )
    return tuple(found)


def _discovery(
    endpoint: Endpoint, *, port_known: bool, class_known: bool, destination_known: bool, network_known: bool
) -> Discovery:
    if not port_known:
        return _port_discovery(endpoint.port)
    if not class_known:
        return _ADDRESS_CLASS
    if destination_known:
        return _PAIR
    if endpoint.place.address_class == PUBLIC:
        return _PUBLIC_NEAR if network_known else _PUBLIC
    return _PRIVATE_NEAR if network_known else _PRIVATE


def _port_discovery(port: int | Protocol) -> Discovery:
    if port in COMMON_PORTS or port is Protocol.ICMP:
        return _COMMON_PORT
    if isinstance(port, Protocol) or port < _REGISTERED_FROM:
        return _LOW_PORT
    return _REGISTERED_PORT if port < _HIGH_FROM else _HIGH_PORT


def _rate(subjects: Subjects, discovery: Discovery) -> int:
    return subjects.number("discovery", discovery.name)


def _port_rate(subjects: Subjects, discovery: Discovery, port: int | Protocol) -> int:
    return subjects.number("discovery", discovery.name, port)


def _load_rates(subjects: Subjects, endpoints: Sequence[Endpoint], discoveries: Sequence[Discovery | None]) -> None:
    for position, discovery in enumerate(discoveries):
        if discovery is not None:
            _rate(subjects, discovery)
            _port_rate(subjects, discovery, endpoints[position].port)
            _rate(subjects, _ADDRESS_CLASS)
    subjects.load()


def _new_surprises(
    subjects: Subjects,
    endpoints: Sequence[Endpoint],
    numbers: EndpointSubjects,
    discoveries: Sequence[Discovery | None],
    *,
    now_seconds: float,
) -> list[float]:
    hours, first = subjects.values["hours"], subjects.values["first_seconds"]
    observed = now_seconds / 3600
    of_class = int(hours[_rate(subjects, _ADDRESS_CLASS)]) if any(discoveries) else 0
    class_surprise = _surprise(_probability(_ADDRESS_CLASS.theta, of_class, observed))
    class_known = subjects.known[numbers.address_class].tolist()
    surprises: list[float] = []
    # A scan makes thousands of the same discovery.
    remembered: dict[tuple[Discovery, int | Protocol, bool], float] = {}
    for position, discovery in enumerate(discoveries):
        if discovery is None:
            continue
        port = endpoints[position].port
        name = (discovery, port if discovery.by_port else 0, class_known[position])
        if name not in remembered:
            probability = _probability(discovery.theta, int(hours[_rate(subjects, discovery)]), observed)
            if discovery.by_port:
                on_port = int(hours[_port_rate(subjects, discovery, port)])
                port_hours = (now_seconds - float(first[numbers.port[position]])) / 3600
                probability = (_PORT_HOURS * probability + on_port) / (_PORT_HOURS + port_hours)
            surprise = _surprise(probability)
            if discovery.novelty in (Novelty.PORT, Novelty.COMMON_PORT) and not class_known[position]:
                surprise = max(surprise, class_surprise) + _NEW_CLASS_TOO
            remembered[name] = surprise
        surprises.append(remembered[name])
    return surprises


def _probability(theta: float, hours_with: int, hours: float) -> float:
    return (theta + hours_with) / (theta + hours)


def _surprise(probability: float) -> float:
    # More hours with a discovery than whole hours observed: it is to be expected.
    return max(0.0, -math.log10(probability))
