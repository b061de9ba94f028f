"""The channels, their weights, and how they become one surprise.

A channel is a kind of strangeness that people tell apart; most have several members, each a statistic with a calibrated
tail of its own: s = -log10 p. With weights that sum to one the surprise of a row is -log10 of a mean of all p of
order -2, (1 + Σ w² (p^-2 - 1))^-1/2 (Vovk and Wang, "Combining p-values via averaging", Biometrika, 2020). That is
between the union bound's weighted maximum (order minus infinity) and the harmonic mean (-1; Wilson, "The harmonic mean
p-value for combining dependent tests", PNAS, 2019). Like these it hardly minds how the tests depend on each other: an
hour of a benign host holds a surprise above x with a probability of about 10^-x. One clear sign decides, as in the
maximum, which a sum of surprises would drown; several lesser ones count for a little more than one. Where nothing is
strange it is 0, and of a single member that member's own. The channel whose w / p is largest is the explanation
(docs/models.md, "Channels").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models.calibration import Channel, Prior
from detector.models.record import KEPT_HOURS, KEPT_HOURS_OF_FOREST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

NOVELTY, ACTOR, VOLUME, HOST_VOLUME, FAILURES = "novelty", "actor", "volume", "host_volume", "failures"
FAN_OUT, PORT_SWEEP, BEACON, HOUR, EVIDENCE, FOREST = (
    *("fan_out", "port_sweep", "beacon", "hour", "evidence"),
    "forest",
)

# Thresholds and scales: the largest over the hosts of the detection benchmark; weights: docs/models.md. Inbound volume
# was not measured there: it has the priors of outbound volume, and a third of its weight, since strangers decide it.
_YOUNG, _KNOWN = Prior(0.7, 0.5), Prior(0.4, 0.4)
_OUTBOUND_WEIGHT, _INBOUND_WEIGHT = 0.06, 0.02
# What is a probability already, of an hour of one of several actors: with five of them active an hour in four holds one
# below .05, and the excess of -log10 of a probability is 1 / ln 10.
_OF_PROBABILITIES = 1 / math.log(10)
_SEVERAL_ACTORS = Prior(math.log10(4 * 5), _OF_PROBABILITIES)
_ONE_HOST = Prior(math.log10(4), _OF_PROBABILITIES)


def _volume(direction: str, weight: float) -> tuple[Channel, ...]:
    return (
        Channel(f"{direction}_snapshot_young", _YOUNG, weight),
        Channel(f"{direction}_snapshot_known", _KNOWN, weight),
        Channel(f"{direction}_hour_young", _YOUNG, weight),
        Channel(f"{direction}_hour_known", _KNOWN, weight),
    )


OUTBOUND_VOLUME = _volume("outbound", _OUTBOUND_WEIGHT)
INBOUND_VOLUME = _volume("inbound", _INBOUND_WEIGHT)
# The largest over the hosts of the detection benchmark (upper quartile of hourly maxima .146, mean excess .027), whose
# rows lack users and executables, and a generated bastion, which has them (.222 and .009).
ISOLATION = Channel("isolation", Prior(0.22, 0.03), 0.06)
FIRST_CONTACT = Channel("first_contact", _ONE_HOST, 0.27)

MEMBERS: Mapping[str, tuple[Channel, ...]] = {
    NOVELTY: (FIRST_CONTACT,),
    ACTOR: (
        Channel("executable_habit", _SEVERAL_ACTORS, 0.12),
        Channel("user_habit", _SEVERAL_ACTORS, 0.12),
    ),
    VOLUME: (*OUTBOUND_VOLUME, *INBOUND_VOLUME),
    HOST_VOLUME: (
        Channel("host_snapshot", Prior(0.7, 0.4), 0.03),
        Channel("host_hour", Prior(0.4, 0.3), 0.03),
    ),
    FAILURES: (
        Channel("failures_destination", Prior(0.5, 1.0), 0.10),
        Channel("failures_port", Prior(0.5, 1.0), 0.05),
    ),
    FAN_OUT: (
        Channel("fan_out_minute", Prior(0.7, 0.4), 0.02),
        Channel("fan_out_hour", Prior(0.7, 0.4), 0.03),
        Channel("fan_out_day", Prior(1.1, 0.4), 0.03),
        Channel("fan_out_web_minute", Prior(2.5, 1.0), 0.01),
        Channel("fan_out_web_hour", Prior(2.5, 1.0), 0.02),
    ),
    PORT_SWEEP: (
        Channel("sweep_minute", Prior(0.7, 0.3), 0.03),
        Channel("sweep_hour", Prior(0.7, 0.3), 0.04),
        Channel("sweep_day", Prior(0.7, 0.3), 0.03),
    ),
    BEACON: (
        Channel("persistence", Prior(1.0, 0.3), 0.04),
        Channel("regularity", Prior(0.5, 0.5), 0.03),
    ),
    HOUR: (Channel("hour_of_week", Prior(0.7, 0.3), 0.03),),
    EVIDENCE: (Channel("evidence", Prior(2.0, 2.0), 0.05),),
    FOREST: (ISOLATION,),
}
"""Each channel's members. The values that a member takes are in the file that computes them."""

PROBABILITIES = frozenset({FIRST_CONTACT.name})
"""Members whose value is -log10 of an hourly probability as it is; they have no tail."""

OF_ACTORS = frozenset(each.name for each in MEMBERS[ACTOR])
"""Members whose value is -log10 of a probability of one actor: an hour of the host holds one more often, never less."""

SIZES = frozenset({VOLUME, HOST_VOLUME, FAILURES, FAN_OUT, PORT_SWEEP})
"""Channels that say how much there is of something; the others say what it is."""

_MUCH_LARGER = 1.0  # as -log10: ten times rarer

CHANNELS: tuple[Channel, ...] = tuple(
    each for members in MEMBERS.values() for each in members if each.name not in PROBABILITIES
)
"""The members that are calibrated."""

RECORDS: Mapping[str, str] = {channel: f"p_{channel}" for channel in MEMBERS}
"""What the record of each channel is called; some channels are called as a member is."""

RECORDED_HOURS: Mapping[str, int] = {
    name: KEPT_HOURS_OF_FOREST if channel == FOREST else KEPT_HOURS for channel, name in RECORDS.items()
}
"""How many of the last hours are in each record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """The channels of n rows as one."""

    surprise: npt.NDArray[np.float64]
    """Of all members together: at least 0."""
    by_channel: dict[str, npt.NDArray[np.float64]]
    """Of each channel's members, as if it were alone: at least 0."""
    channels: tuple[str | None, ...]
    """Which channel decided; None where none saw more than an hour holds anyway."""
    members: dict[str, npt.NDArray[np.int64]]
    """Of each channel the member that decided, by its place in MEMBERS."""


def combine(surprises: Mapping[str, npt.NDArray[np.float64]]) -> Combined:
    """Puts together the surprises of n rows by member; members that are not there have no share of it."""
    total = sum(each.weight for each in _present(surprises))
    by_channel: dict[str, npt.NDArray[np.float64]] = {}
    deciding: dict[str, npt.NDArray[np.int64]] = {}
    shares: list[float] = []
    for channel, members in MEMBERS.items():
        there = [(place, each) for place, each in enumerate(members) if each.name in surprises]
        if not there:
            continue
        share = sum(each.weight for _, each in there)
        weights = [each.weight / share for _, each in there]
        values = np.stack([surprises[each.name] for _, each in there])
        deciding[channel] = np.array([place for place, _ in there], dtype=np.int64)[_strongest(values, weights)[0]]
        # The mean of means is that of all: it makes no difference which members are called one channel.
        by_channel[channel] = _mean(values, weights)
        shares.append(share / total)
    names, together = list(by_channel), np.stack(list(by_channel.values()))
    winners, strengths = _strongest(together, shares)
    return Combined(
        surprise=_mean(together, shares),
        by_channel=by_channel,
        channels=tuple(
            names[winner] if strange else None
            for winner, strange in zip(winners.tolist(), (strengths > 0).tolist(), strict=True)
        ),
        members=deciding,
    )


def _strongest(
    surprises: npt.NDArray[np.float64], weights: Sequence[float]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Which of (k, n) surprises has the largest w / p, and log10 of that; (n,) each."""
    strengths = surprises + np.log10(np.array(weights))[:, np.newaxis]
    return strengths.argmax(axis=0), strengths.max(axis=0)


def _mean(surprises: npt.NDArray[np.float64], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """-log10 of the mean of order -2 of p-values, given as (k, n) surprises; (n,), at least 0."""
    square = np.array(weights)[:, np.newaxis] ** 2
    # In proportion to the largest, whose power of ten no number may hold.
    largest = np.maximum(0.0, (surprises + np.log10(square) / 2).max(axis=0))
    one = 10.0 ** (-2 * largest)
    total = one + (square * (10.0 ** (2 * (surprises - largest)) - one)).sum(axis=0)
    mean: npt.NDArray[np.float64] = np.maximum(0.0, largest + np.log10(total) / 2)
    return mean


def without_accepted(
    surprises: Mapping[str, npt.NDArray[np.float64]], levels: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """The surprises of n rows by member, less those that a person called benign: the surprise at what a row is, and at
    how much it is unless that is much larger than what the person saw.

    Args:
        surprises: by member, (n,) each.
        levels: (n,) the surprise that the person saw; NaN where nobody said anything.
    """
    accepted = ~np.isnan(levels)
    sizes = {each.name for channel in SIZES for each in MEMBERS[channel]}
    of_size = {name: value if name in sizes else np.where(accepted, 0.0, value) for name, value in surprises.items()}
    usual = accepted & ~(combine(of_size).surprise > levels + _MUCH_LARGER)
    return {name: np.where(usual, 0.0, value) for name, value in of_size.items()}


def _present(surprises: Mapping[str, npt.NDArray[np.float64]]) -> Iterable[Channel]:
    return (each for members in MEMBERS.values() for each in members if each.name in surprises)
