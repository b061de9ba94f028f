"""Sentences for people: why a row is unusual, in units that they know.

No name that others chose is in them, only addresses and ports: users and executables stand beside them in an alert.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from detector.domain import Protocol
from detector.models.actors import Habit
from detector.models.novelty import Novelty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.models.endpoints import Endpoint

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


def host_volume(endpoint: Endpoint, *, connects: float, usual: float, period_seconds: float) -> str:
    """All connects of the host beside the usual ones; `usual` is a mean of log(1 + count)."""
    often = max(1, round(math.expm1(usual)))
    return (
        f"{_round(connects)} connects and flows of the whole host within {_duration(period_seconds)}, where it usually "
        f"makes {often:,}; a large part of them to {_address(endpoint)} {endpoint.service}"
    )


def actor(endpoint: Endpoint, kind: str, habit: int, *, hours: int, age_seconds: float) -> str:
    """What an executable or user does that it never did; `hours` are those in which it was active before."""
    who = f"this {kind}"
    where = f"{_address(endpoint)} {endpoint.service}"
    before = f"in the {_counted(hours, 'hour')} in which it was active"
    match Habit(habit):
        case Habit.APPEARS:
            return f"{who} never connected anywhere on this host before; now it connects to {where}"
        case Habit.PORT:
            return f"{who} never connected to {endpoint.service} {before}; now it does, to {_address(endpoint)}"
        case Habit.DESTINATION:
            return f"{who} connects to {where}, a destination and network that it did not use {before}"
        case Habit.DESTINATION_IN_KNOWN_NETWORK:
            return f"{who} connects to {where}, which it did not use {before}; it knows the network"
        case Habit.NOTHING:
            return f"{where} is still new for {who}: it began {_duration(age_seconds)} ago and was unusual"


def failing(endpoint: Endpoint, *, failed: float, ended: float, usual: float) -> str:
    """Failures to one destination within about an hour, beside the host's share."""
    return (
        f"{_round(failed)} of {_round(max(ended, failed))} connects to {_address(endpoint)} failed within 1 h, "
        f"{_usually_failing(usual)}"
    )


def failing_port(endpoint: Endpoint, *, failed: float, ended: float, usual: float) -> str:
    """New destinations on one port that failed within about an hour, beside the host's share."""
    return (
        f"connects to {_round(failed)} of {_round(max(ended, failed))} new destinations on {endpoint.service} failed "
        f"within 1 h, here {_address(endpoint)}, {_usually_failing(usual)}"
    )


def fan_out(endpoint: Endpoint, *, found: float, most: float, period_seconds: float) -> str:
    """New destinations on one port beside the most that calibration remembers."""
    return (
        f"{_counted(found, 'new destination')} on {endpoint.service} within {_duration(period_seconds)}, here "
        f"{_address(endpoint)}; {_most_before(most)}"
    )


def port_sweep(endpoint: Endpoint, *, found: float, most: float, period_seconds: float) -> str:
    """New ports of one destination beside the most that calibration remembers."""
    return (
        f"{_counted(found, 'new port')} of {_address(endpoint)} within {_duration(period_seconds)}, here "
        f"{endpoint.service}; {_most_before(most)}"
    )


def persistence(endpoint: Endpoint, *, bins: float, most: float) -> str:
    """A new endpoint that keeps coming back, beside the most that one did."""
    return (
        f"{_address(endpoint)} {endpoint.service} is new and was connected to in about {_round(bins)} different "
        f"5-minute periods of the last day; {_most_before(most)}"
    )


def regularity(endpoint: Endpoint, *, interval_seconds: float, variation: float) -> str:
    """An endpoint that is connected to like a clock."""
    return (
        f"{_address(endpoint)} {endpoint.service} is connected to every {_duration(interval_seconds)}, give or take "
        f"{variation:.0%}: as regularly as a program does"
    )


def unusual_hour(*, active: float, possible: float) -> str:
    """When a person is hardly ever active: at this time on so many of the days since it was first met."""
    return f"this user was active at this time of the day on {_round(active)} of {_counted(possible, 'day')} before"


def evidence(endpoint: Endpoint, amount: float) -> str:
    """A destination that was a little strange again and again."""
    return (
        f"{_address(endpoint)} was a little unusual again and again: what was found against it within about the last "
        f"hour adds up to {amount:.1f} powers of ten"
    )


def combination(features: Sequence[str]) -> str:
    """What makes a combination unusual; `features` as FEATURES names them, strangest first."""
    words = list(dict.fromkeys(FEATURE_WORDS[feature] for feature in features))
    return "unusual combination: " + ", ".join(words) if words else "unusual combination of what is each usual"


def _address(endpoint: Endpoint) -> str:
    return "an unknown address" if endpoint.address is None else str(endpoint.address)


def _usually_failing(share: float) -> str:
    return f"where {share:.1%} do on this host"


def _most_before(most: float) -> str:
    return f"the most in the last 28 days was {_round(most)}"


def _counted(number: float, thing: str) -> str:
    return f"{_round(number)} {thing}" + ("" if round(number) == 1 else "s")


def _round(number: float) -> str:
    return f"{round(number):,}"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
