"""From a channel's values to probabilities that mean the same for every channel and host.

People count incidents by the hour, so each channel's value is turned into -log10 of the probability that an hour of
this host, when benign, holds one as large. The tail is exponential above a high quantile of the hourly maxima seen so
far, with a prior for hosts that have few hours. Formulas: docs/models.md, "Calibration by the hour".
The priors are the largest over other hosts, not their mean: a young host must not alert on what is common elsewhere.
What is told of a channel, the p of its members together, is held against a record of its own: see `record`.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, delete, func, select

from detector.models.record import Record
from detector.store import bulk
from detector.store.tables import model_channels, model_hours, model_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

_QUANTILE = 0.75
_PRIOR_HOURS = 4.0
_PRIOR_EXCESSES = 4.0
_LN10 = math.log(10)
_WINSOR = 2.5  # an hour's maximum counts at most as the value of this surprise: an attack is learnt slowly
_KEPT_HOURS = 28 * 24  # four weeks: enough for the daily and weekly rhythm, and an old habit is forgotten


@dataclass(frozen=True, slots=True)
class Prior:
    """What is assumed of a channel before any hour is seen: the tail's start and its mean excess."""

    threshold: float
    scale: float


@dataclass(frozen=True, slots=True)
class Channel:
    """A statistic with a tail of its own: its name in the state, its prior, and its weight in the maximum."""

    name: str
    prior: Prior
    weight: float


@dataclass(frozen=True, slots=True)
class Tail:
    """P(hourly maximum > x) = exceedance · exp(-(x - threshold) / scale), for x above the threshold."""

    threshold: float
    exceedance: float
    scale: float

    def surprise(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """-log10 of that probability, elementwise; below the threshold linear down to 0 at 0."""
        base = -math.log10(self.exceedance)
        above = base + (values - self.threshold) / (self.scale * _LN10)
        below = base * values / max(self.threshold, 1e-9)
        surprise: npt.NDArray[np.float64] = np.where(values > self.threshold, above, below)
        return surprise

    def value_at(self, surprise: float) -> float:
        """The value above the threshold that has this surprise; the threshold if none has."""
        return self.threshold + max(0.0, surprise + math.log10(self.exceedance)) * self.scale * _LN10


def fit(maxima: Sequence[float], prior: Prior) -> Tail:
    """The tail of a channel after hours with these maxima, hours without connections included."""
    hours = len(maxima)
    quantile = sorted(maxima)[math.ceil(_QUANTILE * hours) - 1] if hours else 0.0
    threshold = max(quantile, (hours * quantile + _PRIOR_HOURS * prior.threshold) / (hours + _PRIOR_HOURS))
    excesses = [value - threshold for value in maxima if value > threshold]
    return Tail(
        threshold=threshold,
        exceedance=(len(excesses) + 1) / (hours + 2),
        scale=(math.fsum(excesses) + _PRIOR_EXCESSES * prior.scale) / (len(excesses) + _PRIOR_EXCESSES),
    )


class Calibration:
    """The tails and records in force for one host, and the maxima of the observed hour that is under way."""

    def __init__(
        self,
        connection: Connection,
        host_id: int,
        channels: Sequence[Channel],
        recorded: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`channels` have a tail each, `recorded` a record of so many hours; no name is in both."""
        self._connection = connection
        self._host_id = host_id
        self._channels = {channel.name: channel for channel in channels}
        self.tails: dict[str, Tail] = {channel.name: fit((), channel.prior) for channel in channels}
        """By channel name."""
        self.records: dict[str, Record] = dict.fromkeys(recorded, Record())
        """By name."""
        self._recorded = recorded
        self._maxima: dict[str, float] = dict.fromkeys((*self._channels, *recorded), 0.0)
        columns = model_channels.c
        for row in connection.execute(select(model_channels).where(columns.host_id == host_id)).mappings():
            if row["channel"] in self._channels:
                self.tails[row["channel"]] = Tail(row["threshold"], row["exceedance"], row["scale"])
                self._maxima[row["channel"]] = row["maximum"]
        if recorded:
            for row in connection.execute(select(model_records).where(model_records.c.host_id == host_id)).mappings():
                if row["channel"] in self.records:
                    self.records[row["channel"]] = Record.unpack(row["hours"], row["reached"])
                    self._maxima[row["channel"]] = row["maximum"]
        self._loaded = {**self._maxima}

    def observe(self, values: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """Takes a snapshot's values into the maxima of the hour under way."""
        for name, of_channel in values.items():
            self._maxima[name] = max(self._maxima[name], float(of_channel.max(initial=0.0)))

    def close_hour(self, hour: int, names: Sequence[str], *, settled: range, over: bool = True) -> None:
        """Ends observed hour `hour`: what is named, which had a value all along, keeps its maximum.

        Tails follow from the hours `settled`: what is under way must not make itself usual. Records hold all hours
        until now: no surprise is made of what they say. An hour that is not `over` is ended once more.
        """
        # Of a record it is nothing but counted.
        limits = {name: self.tails[name].value_at(_WINSOR) if name in self.tails else math.inf for name in names}
        rows = [(self._host_id, name, hour, min(self._maxima[name], limits[name])) for name in names]
        bulk.upsert(self._connection, model_hours, ("host_id", "channel", "hour", "maximum"), rows)
        kept = self._kept(hour)
        for name in names:
            of_name = kept.get(name, {})
            if name in self.tails:
                within = [maximum for at, maximum in of_name.items() if at in settled]
                self.tails[name] = fit(within, self._channels[name].prior)
            else:
                self.records[name] = Record.of(list(of_name.values())[-self._recorded[name] :])
        if over:
            self._maxima = dict.fromkeys(self._maxima, 0.0)
        self._loaded = {}

    def largest(self, name: str) -> float:
        """The largest of a channel's hourly maxima that are remembered; 0 when there is none."""
        columns = model_hours.c
        of_channel = (columns.host_id == self._host_id) & (columns.channel == name)
        return self._connection.scalar(select(func.max(columns.maximum)).where(of_channel)) or 0.0

    def save(self) -> None:
        """Writes what has changed."""
        changed = {name: maximum for name, maximum in self._maxima.items() if self._loaded.get(name) != maximum}
        tails = [
            (self._host_id, name, changed[name], *astuple(tail)) for name, tail in self.tails.items() if name in changed
        ]
        names = ("host_id", "channel", "maximum", "threshold", "exceedance", "scale")
        bulk.upsert(self._connection, model_channels, names, tails)
        records = [
            (self._host_id, name, changed[name], record.hours, record.pack())
            for name, record in self.records.items()
            if name in changed
        ]
        bulk.upsert(self._connection, model_records, ("host_id", "channel", "maximum", "hours", "reached"), records)

    def _kept(self, hour: int) -> dict[str, dict[int, float]]:
        """The maxima up to an hour by channel and hour, in the order of hours."""
        columns = model_hours.c
        of_host = columns.host_id == self._host_id
        self._connection.execute(delete(model_hours).where(of_host, columns.hour <= hour - _KEPT_HOURS))
        rows = self._connection.execute(
            select(columns.channel, columns.hour, columns.maximum)
            .where(of_host, columns.hour <= hour)
            .order_by(columns.channel, columns.hour)
        )
        kept: dict[str, dict[int, float]] = {}
        for channel, at, maximum in rows:
            kept.setdefault(channel, {})[at] = maximum
        return kept
