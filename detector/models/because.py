"""Why the forest finds a row strange or not, and which of the rows that are normal is most like it.

Both are told by what is known now: how familiar a thing is changes from snapshot to snapshot, and what a row was scored
by is not kept. What the channels said at the time is stored with the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from detector.models import endpoints, explain, isolation_forest, scorer, state, training
from detector.models.features import FEATURES
from detector.models.judgement import Moment, look

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from sqlalchemy import Connection

    from detector import config
    from detector.domain import SnapshotRef, StoredCount

_CLOCK = ("clock_sine", "clock_cosine")
_YES_OR_NO = frozenset({"switched_user", "root", "login", "container"})
_CLASSES = {
    endpoints.LOOPBACK: "loopback",
    endpoints.PRIVATE: "private",
    endpoints.PUBLIC: "public",
    endpoints.UNKNOWN: "unknown",
}
_DAY_HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one feature adds."""

    about: str
    """In words: "the user with this executable"."""
    splits: float
    """By how many splits it makes the row easier to isolate; negative: harder, so it makes the row more usual."""
    seen: str
    """What the row has, in words."""
    usual: str
    """The same of a row in the middle of the training; empty where there is no middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestSays:
    """Why a row is as strange to the forest in force as it is."""

    version: int
    anomaly: float
    """0 to 1: how much more easily it is isolated than what is usual."""
    path: float
    """In how many splits the row is isolated, on the average over trees."""
    mean_path: float
    """The same of what the forest was trained on; less the splits of all parts it is that of the row."""
    parts: tuple[Part, ...]
    """Those that make it stranger first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The row of the training sample that is most like another one."""

    key_id: int
    at: datetime
    """When its snapshot ended."""
    distance: float
    """In standard deviations of the sample, over all features."""
    differs: tuple[str, ...]
    """In what, in words, the largest difference first; at most three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """What is to be said of a row beside the channels' probabilities."""

    forest: ForestSays | None
    """None: none is in force."""
    example: Example | None
    """None: the sample is empty."""


class Explainer:
    """Explains the rows of one host."""

    def __init__(self, connection: Connection, host_id: int, settings: config.Models) -> None:
        self._connection, self._settings = connection, settings
        self._host = state.load_host(connection, host_id)
        self._material = training.gather(connection, host_id, settings)

    def explain(self, snapshot: SnapshotRef, counts: Sequence[StoredCount], rows: Sequence[int]) -> list[Because]:
        """Explains some rows of a snapshot.

        Args:
            snapshot: one of the host.
            counts: all of the snapshot's, at least one.
            rows: the numbers of those that are wanted.
        """
        seconds = self._host.observed_seconds
        learning = scorer.learning(self._connection, snapshot.host_id, self._settings)
        moment = Moment(start_seconds=seconds, duration_seconds=0.0, learning=learning)
        matrix = look(self._connection, snapshot, counts, moment).matrix
        ends = snapshot.end.timestamp()
        return [
            Because(forest=self._forest(matrix[row]), example=self._example(matrix[row], counts[row].key_id, ends))
            for row in rows
        ]

    def _forest(self, row: npt.NDArray[np.float32]) -> ForestSays | None:
        forest, current = self._material.forest, self._material.current
        if forest is None or current is None:
            return None
        asked = row[np.newaxis]
        (splits,) = isolation_forest.contributions(forest, asked)
        parts: dict[str, Part] = {}
        for number, name in enumerate(FEATURES):
            part = Part(
                about=explain.FEATURE_WORDS[name],
                splits=float(splits[number]),
                seen=in_words(name, row),
                usual="" if name in _CLOCK else in_words(name, forest.typical),
            )
            parts[part.about] = _joined(parts[part.about], part) if part.about in parts else part
        return ForestSays(
            version=current.version,
            anomaly=float(isolation_forest.anomaly(forest, asked)[0]),
            path=float(forest.trees.paths(asked)[0]),
            mean_path=float(forest.trees.path[forest.trees.roots].mean()),
            parts=tuple(sorted(parts.values(), key=lambda part: -part.splits)),
        )

    def _example(self, row: npt.NDArray[np.float32], key_id: int, at: float) -> Example | None:
        sample = self._material.sample
        others = np.flatnonzero((sample.key_ids != key_id) | (sample.at != at))
        if not len(others):
            return None
        spread = sample.features.std(axis=0)
        scaled = (sample.features[others] - row) / np.where(spread > 0, spread, 1.0)
        distances = np.sqrt((scaled**2).sum(axis=1))
        nearest = int(distances.argmin())
        return Example(
            key_id=int(sample.key_ids[others[nearest]]),
            at=datetime.fromtimestamp(float(sample.at[others[nearest]]), UTC),
            distance=float(distances[nearest]),
            differs=_differences(row, sample.features[others[nearest]], np.abs(scaled[nearest])),
        )


def _joined(one: Part, other: Part) -> Part:
    """Two features about the same, as the two numbers of a time of day are."""
    seen, usual = (
        ", ".join(dict.fromkeys(text for text in texts if text))
        for texts in ((one.seen, other.seen), (one.usual, other.usual))
    )
    return Part(about=one.about, splits=one.splits + other.splits, seen=seen, usual=usual)


def in_words(name: str, row: npt.NDArray[np.float32]) -> str:
    """What a row (len(FEATURES),) has of a feature, in units that people know."""
    value = float(row[FEATURES.index(name)])
    if name in _CLOCK:
        angle = math.atan2(float(row[FEATURES.index("clock_sine")]), float(row[FEATURES.index("clock_cosine")]))
        minutes = round(angle / (2 * math.pi) * _DAY_HOURS * 60) % (_DAY_HOURS * 60)
        return f"{minutes // 60:02}:{minutes % 60:02} UTC"
    if name == "inbound":
        return "inbound" if value else "outbound"
    if name == "address_class":
        return _CLASSES.get(round(value), "unknown")
    if name == "port_number":
        return f"port {round(math.expm1(value))}" if value else "no port"
    if name in _YES_OR_NO:
        return "yes" if value else "no"
    if name == "failed_share":
        return f"{value:.0%}"
    periods, period = round(10**value), "day" if name == "user_clock_hour" else "hour"
    return f"in 1 {period} of {periods:,}" if periods > 1 else f"in every {period}"


_DIFFERENCES = 3
# Of standard deviations: less is no difference to a person.
_NO_DIFFERENCE = 0.05


def _differences(
    row: npt.NDArray[np.float32], other: npt.NDArray[np.float32], apart: npt.NDArray[np.float64]
) -> tuple[str, ...]:
    texts: dict[str, str] = {}
    for number in np.argsort(-apart, kind="stable").tolist():
        name = FEATURES[number]
        one, another = in_words(name, row), in_words(name, other)
        if apart[number] > _NO_DIFFERENCE and one != another:
            texts.setdefault(explain.FEATURE_WORDS[name], f"{explain.FEATURE_WORDS[name]} ({one}, there {another})")
    return tuple(texts.values())[:_DIFFERENCES]
