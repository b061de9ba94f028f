"""Sentences for people: why a row is unusual, in units that they know.

No name that others chose is in them, only addresses and ports: users and executables stand beside them in an alert.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from detector.domain import Protocol
from detector.models.novelty import Novelty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.models.features import Endpoint

FEATURE_WORDS = {
    "inbound": "the direction",
    "address_class": "the kind of address",
    "port_number": "the port",
    "clock_sine": "the time of day",
    "clock_cosine": "the time of day",
    "switched_user": "whether the user is the one who logged in",
    "root": "whether it is root",
    "login": "whether it belongs to a login",
    "container": "whether it is in a container",
    "failed_share": "the share of failures",
    "user": "the user",
    "executable": "the executable",
    "user_executable": "the user with this executable",
    "executable_port": "the executable with this port",
    "user_network": "the user with this network",
    "executable_class": "the executable with this kind of address",
    "user_clock_hour": "the user at this hour of the day",
    "pair": "the destination with this port",
    "destination": "the destination",
    "port": "the port",
}


def first_contact(endpoint: Endpoint, novelty: Novelty, surprise: float) -> str:
    """What is new, and how seldom that happens; `surprise` is -log10 of the hourly probability."""
    address, service = _address(endpoint), endpoint.service
    often = f"in about 1 hour of {_round(10 ** min(surprise, 12.0))}"
    match novelty:
        case Novelty.DESTINATION:
            return f"first contact with {address}; this host meets a new destination on {service} {often}"
        case Novelty.DESTINATION_IN_KNOWN_NETWORK:
            return (
                f"first contact with {address}, in a network that is known; this host meets such a destination "
                f"on {service} {often}"
            )
        case Novelty.PAIR:
            return (
                f"first contact with {service} of {address}, a known destination; this host begins to use {service} "
                f"of a known destination {often}"
            )
        case Novelty.ADDRESS_CLASS:
            return f"first contact with an address of this kind, {address}; this host does so {often}"
        case Novelty.PORT | Novelty.COMMON_PORT:
            kind = "protocol" if isinstance(endpoint.port, Protocol) else "port"
            return (
                f"first contact with {service} of any destination, here {address}; this host uses a new {kind} of "
                f"this kind {often}"
            )


def still_new(endpoint: Endpoint, age_seconds: float) -> str:
    """An endpoint, or another port of its destination, was strange a while ago and still is."""
    return (
        f"{_address(endpoint)} {endpoint.service} is still new: the first contact with this destination or port was "
        f"{_duration(age_seconds)} ago and was unusual"
    )


def volume(endpoint: Endpoint, *, connects: float, usual: float, period_seconds: float, young: bool) -> str:
    """A count beside the usual one; `usual` is a mean of log(1 + count), of new endpoints in general when `young`."""
    often = max(1, round(math.expm1(usual)))
    address, service = _address(endpoint), endpoint.service
    if endpoint.outbound:
        what, kind = f"{endpoint.what} to {address} {service}", "destination"
    else:
        arriving = endpoint.what.replace("connects", "connections")
        source = address if endpoint.address is None else f"the network of {address}"
        what, kind = f"inbound {arriving} from {source} to {service}", "source"
    usually = f"a new {kind} usually makes {often} on this host" if young else f"it usually makes {often}"
    return f"{_round(connects)} {what} within {_duration(period_seconds)}, where {usually}"


def combination(features: Sequence[str]) -> str:
    """What makes a combination unusual; `features` as FEATURES names them, strangest first."""
    words = list(dict.fromkeys(FEATURE_WORDS[feature] for feature in features))
    return "unusual combination: " + ", ".join(words) if words else "unusual combination of what is each usual"


def _address(endpoint: Endpoint) -> str:
    return "an unknown address" if endpoint.address is None else str(endpoint.address)


def _round(number: float) -> str:
    return f"{round(number):,}"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
