"""The channels, their weights, and how they become one surprise.

The surprise of a row is the weighted maximum over channels, max(s_c + log10 w_c), with weights that sum to one: by the
union bound an hour of a benign host holds a surprise above x with a probability of at most 10^-x. A sum would drown
what shows in one channel only, and the channel that wins is the explanation (docs/models.md, "Channels").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.models.calibration import Calibration, Channel, Prior

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from detector.models.baseline import Volumes

NOVELTY, VOLUME, FOREST = "novelty", "volume", "forest"

# Thresholds and scales: the largest over the hosts of the detection benchmark; weights: docs/models.md. Inbound volume
# was not measured there: it has the priors of outbound volume, and a third of its weight, since strangers decide it.
_YOUNG, _KNOWN = Prior(0.7, 0.5), Prior(0.4, 0.4)
_NOVELTY_WEIGHT = 0.27
_OUTBOUND_WEIGHT, _INBOUND_WEIGHT = 0.06, 0.02
_FOREST_WEIGHT = 0.06


def _volume(direction: str, weight: float) -> tuple[Channel, ...]:
    return (
        Channel(f"{direction}_snapshot_young", _YOUNG, weight),
        Channel(f"{direction}_snapshot_known", _KNOWN, weight),
        Channel(f"{direction}_hour_young", _YOUNG, weight),
        Channel(f"{direction}_hour_known", _KNOWN, weight),
    )


_FIRST_BY_HOUR = 2


OUTBOUND_VOLUME = _volume("outbound", _OUTBOUND_WEIGHT)
INBOUND_VOLUME = _volume("inbound", _INBOUND_WEIGHT)
# The largest over the hosts of the detection benchmark (upper quartile of hourly maxima .146, mean excess .027), whose
# rows lack users and executables, and a generated bastion, which has them (.222 and .009).
ISOLATION = Channel("isolation", Prior(0.22, 0.03), _FOREST_WEIGHT)
CHANNELS: tuple[Channel, ...] = (*OUTBOUND_VOLUME, *INBOUND_VOLUME, ISOLATION)
"""Those that are calibrated; novelty is a probability by itself."""

_TOTAL = _NOVELTY_WEIGHT + sum(channel.weight for channel in CHANNELS)


def volume_values(volumes: Volumes, outbound: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.float64]]:
    """Each volume channel's values for m endpoints; 0 where the channel is about others."""
    excess, hour_excess = volumes.excess, volumes.hour_excess
    values: dict[str, npt.NDArray[np.float64]] = {}
    for channels, direction in ((OUTBOUND_VOLUME, outbound), (INBOUND_VOLUME, ~outbound)):
        parts = (
            excess * volumes.young,
            excess * ~volumes.young,
            hour_excess * volumes.hour_young,
            hour_excess * ~volumes.hour_young,
        )
        values |= {channel.name: part * direction for channel, part in zip(channels, parts, strict=True)}
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeScores:
    """The volume channels folded into one, for m endpoints."""

    surprise: npt.NDArray[np.float64]
    """The weighted maximum over the four channels of the endpoint's direction."""
    by_hour: npt.NDArray[np.bool_]
    """Whether it is the hour's count that decided, not the snapshot's."""
    weight: npt.NDArray[np.float64]
    """The share of the four channels in all weights."""


def fold_volume(
    values: Mapping[str, npt.NDArray[np.float64]], calibration: Calibration, outbound: npt.NDArray[np.bool_]
) -> VolumeScores:
    """Calibrates and folds the values of the volume channels."""
    folded = []
    for channels in (OUTBOUND_VOLUME, INBOUND_VOLUME):
        share = math.log10(1 / len(channels))
        folded.append(np.stack([calibration.tails[each.name].surprise(values[each.name]) + share for each in channels]))
    surprises = np.where(outbound, folded[0], folded[1])
    weights = [sum(each.weight for each in channels) / _TOTAL for channels in (OUTBOUND_VOLUME, INBOUND_VOLUME)]
    return VolumeScores(
        surprise=np.maximum(0.0, surprises.max(axis=0)),
        by_hour=surprises.argmax(axis=0) >= _FIRST_BY_HOUR,
        weight=np.where(outbound, weights[0], weights[1]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """The channels of n rows as one."""

    surprise: npt.NDArray[np.float64]
    channels: tuple[str | None, ...]
    """Which channel decided; None where none saw anything."""


def combine(surprises: Mapping[str, npt.NDArray[np.float64]], volume_weight: npt.NDArray[np.float64]) -> Combined:
    """The weighted maximum over the surprises of n rows by channel; there is none of the forest before its training.

    Args:
        surprises: by NOVELTY, VOLUME and FOREST, each (n,).
        volume_weight: (n,), see `VolumeScores`.
    """
    weights: dict[str, Any] = {
        NOVELTY: _NOVELTY_WEIGHT / _TOTAL,
        VOLUME: volume_weight,
        FOREST: _FOREST_WEIGHT / _TOTAL,
    }
    names = list(surprises)
    weighted = np.stack([surprises[name] + np.log10(weights[name]) for name in names])
    surprise = np.maximum(0.0, weighted.max(axis=0))
    winners = zip(weighted.argmax(axis=0).tolist(), (surprise > 0).tolist(), strict=True)
    return Combined(
        surprise=surprise, channels=tuple(names[winner] if strange else None for winner, strange in winners)
    )
