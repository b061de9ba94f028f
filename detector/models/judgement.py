"""What the models say of one snapshot: each channel's verdict, and the observations made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import Observation
from detector.models import baseline, channels, explain, features, isolation_forest, novelty, state

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from sqlalchemy import Connection

    from detector.domain import Learning, SnapshotRef, StoredCount
    from detector.models.calibration import Calibration
    from detector.models.isolation_forest import Forest

_HOUR_SECONDS = 3600
# The part of burn-in before hours are worth calibrating on: everything is new in it (docs/models.md, "Learning").
_CALIBRATION_STARTS = 0.25
# A score of .9. From here on rows are explained, and kept out of the forest's training.
_STRANGE = 1.0
_SMALLEST_PROBABILITY = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a snapshot happened, in observed time, and how far burn-in has come with it."""

    start_seconds: float
    duration_seconds: float
    learning: Learning

    @property
    def end_seconds(self) -> float:
        """Observed time after the snapshot."""
        return self.start_seconds + self.duration_seconds

    @property
    def hour(self) -> int:
        """The observed hour that it counts to, from 0."""
        return int(self.start_seconds // _HOUR_SECONDS)

    @property
    def closes_hour(self) -> bool:
        """Whether it is the last one of its hour."""
        return int(self.end_seconds // _HOUR_SECONDS) > self.hour

    @property
    def calibrating(self) -> bool:
        """Whether hours are worth calibrating on."""
        return self.start_seconds >= _CALIBRATION_STARTS * self.learning.required_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A snapshot's n rows and m endpoints beside what is known of them."""

    moment: Moment
    arranged: features.Arranged
    subjects: state.Subjects
    endpoints: features.EndpointSubjects
    actors: npt.NDArray[np.int64]
    hosts: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float32]
    """The isolation forest's input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the channels say of a snapshot's n rows and m endpoints."""

    new: novelty.NoveltyScores
    volumes: baseline.Volumes
    volume: channels.VolumeScores
    values: dict[str, npt.NDArray[np.float64]]
    """Of the channels that are calibrated."""
    surprises: dict[str, npt.NDArray[np.float64]]
    """(n,) of each channel, unweighted; without the forest when there is none."""
    combined: channels.Combined
    threshold: float
    """The surprise from which on a row is unusual: see `promise`."""

    @property
    def unusual(self) -> npt.NDArray[np.bool_]:
        """(n,) the rows of which people may be told."""
        return self.combined.surprise >= self.threshold

    @property
    def worth_training_on(self) -> npt.NDArray[np.bool_]:
        """(n,) all rows but the strange ones; what only the forest finds strange it must come to know."""
        by_forest = np.array([channel == channels.FOREST for channel in self.combined.channels], dtype=bool)
        worth: npt.NDArray[np.bool_] = (self.combined.surprise < _STRANGE) | by_forest
        return worth


def look(connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount], moment: Moment) -> Sight:
    """Reads what is known of a snapshot's rows, of which there is at least one."""
    arranged = features.arrange(counts)
    subjects = state.Subjects(connection, snapshot.host_id)
    endpoints = features.number_endpoints(subjects, arranged.endpoints)
    actors = features.number_actors(subjects, counts, arranged, snapshot.end)
    hosts = baseline.number_hosts(subjects, arranged)
    subjects.load()
    hours = moment.start_seconds / _HOUR_SECONDS
    matrix = features.matrix(counts, arranged, subjects, endpoints, actors, moment=snapshot.end, observed_hours=hours)
    return Sight(
        moment=moment,
        arranged=arranged,
        subjects=subjects,
        endpoints=endpoints,
        actors=actors,
        hosts=hosts,
        matrix=matrix,
    )


def judge(sight: Sight, calibration: Calibration, forest: Forest | None, threshold: float) -> Judgement:
    """Each channel's verdict, as things stood before the snapshot."""
    now, arranged, subjects = sight.moment.start_seconds, sight.arranged, sight.subjects
    new = novelty.judge(subjects, arranged.endpoints, sight.endpoints, now_seconds=now)
    volumes = baseline.judge(subjects, arranged, sight.endpoints, sight.hosts, now_seconds=now)
    outbound = np.array([endpoint.outbound for endpoint in arranged.endpoints])
    values = channels.volume_values(volumes, outbound)
    volume = channels.fold_volume(values, calibration, outbound)
    of_row = arranged.endpoint_of
    surprises = {
        channels.NOVELTY: new.surprise[of_row],
        channels.VOLUME: np.where(arranged.credited, volume.surprise[of_row], 0.0),
    }
    if forest is not None:
        values[channels.ISOLATION.name] = isolation_forest.anomaly(forest, sight.matrix)
        tail = calibration.tails[channels.ISOLATION.name]
        surprises[channels.FOREST] = tail.surprise(values[channels.ISOLATION.name])
    return Judgement(
        new=new,
        volumes=volumes,
        volume=volume,
        values=values,
        surprises=surprises,
        combined=channels.combine(surprises, volume.weight[of_row]),
        threshold=threshold,
    )


def learn(sight: Sight, judgement: Judgement) -> None:
    """Takes the snapshot into what is known, and writes that."""
    moment, subjects, endpoints = sight.moment, sight.subjects, sight.endpoints
    now, hour = moment.start_seconds, moment.hour
    subjects.touch(np.concatenate([*endpoints.columns, sight.actors.ravel()]), hour=hour, now_seconds=now)
    novelty.learn(subjects, sight.arranged.endpoints, endpoints, judgement.new, hour=hour, now_seconds=now)
    baseline.learn(
        subjects,
        endpoints,
        sight.hosts,
        judgement.volumes,
        now_seconds=now,
        duration_seconds=moment.duration_seconds,
    )
    subjects.save()


def observations(
    counts: Sequence[StoredCount], sight: Sight, judgement: Judgement, forest: Forest | None
) -> list[Observation]:
    """One observation for each count, in order; bare ones during burn-in."""
    if not sight.moment.learning.finished:
        return [_observation(stored) for stored in counts]
    probabilities = {
        channel: np.maximum(10.0**-surprise, _SMALLEST_PROBABILITY).tolist()
        for channel, surprise in judgement.surprises.items()
    }
    surprise = judgement.combined.surprise
    columns = zip(
        counts,
        (1.0 - 10.0**-surprise).tolist(),
        surprise.tolist(),
        judgement.unusual.tolist(),
        judgement.combined.channels,
        sight.arranged.endpoint_of.tolist(),
        probabilities[channels.NOVELTY],
        probabilities[channels.VOLUME],
        probabilities.get(channels.FOREST, [None] * len(counts)),
        strict=True,
    )
    observed = []
    for row, values in enumerate(columns):
        stored, score, strangeness, unusual, channel, endpoint, p_novelty, p_volume, p_forest = values
        discovery = judgement.new.discoveries[endpoint]
        observed.append(
            _observation(
                stored,
                score=score,
                surprise=strangeness,
                unusual=unusual,
                channel=channel,
                novelty=None if discovery is None else discovery.novelty.value,
                p_novelty=p_novelty,
                p_volume=p_volume,
                p_forest=p_forest,
                explanation=_explanation(sight, judgement, row, forest) if strangeness >= _STRANGE else None,
            )
        )
    return observed


def _observation(
    stored: StoredCount,
    *,
    score: float | None = None,
    surprise: float | None = None,
    unusual: bool | None = None,
    channel: str | None = None,
    novelty: str | None = None,
    p_novelty: float | None = None,
    p_volume: float | None = None,
    p_forest: float | None = None,
    explanation: str | None = None,
) -> Observation:
    return Observation(
        key_id=stored.key_id,
        session=stored.count.session,
        score=score,
        surprise=surprise,
        unusual=unusual,
        channel=channel,
        novelty=novelty,
        p_novelty=p_novelty,
        p_volume=p_volume,
        p_forest=p_forest,
        explanation=explanation,
    )


def _explanation(sight: Sight, judgement: Judgement, row: int, forest: Forest | None) -> str:
    number = int(sight.arranged.endpoint_of[row])
    endpoint = sight.arranged.endpoints[number]
    channel = judgement.combined.channels[row]
    if channel == channels.FOREST and forest is not None:
        return explain.combination(isolation_forest.strangest_features(forest, sight.matrix[row]))
    if channel == channels.NOVELTY:
        discovery, surprise = judgement.new.discoveries[number], float(judgement.new.surprise[number])
        if discovery is not None:
            return explain.first_contact(endpoint, discovery.novelty, surprise)
        return explain.still_new(endpoint, sight.moment.start_seconds - float(judgement.new.found_seconds[number]))
    volumes = judgement.volumes
    if judgement.volume.by_hour[number]:
        return explain.volume(
            endpoint,
            connects=float(volumes.hour_connects[number]),
            usual=float(volumes.hour_usual[number]),
            period_seconds=_HOUR_SECONDS,
            young=bool(volumes.hour_young[number]),
        )
    return explain.volume(
        endpoint,
        connects=float(volumes.connects[number]),
        usual=float(volumes.usual[number]),
        period_seconds=sight.moment.duration_seconds,
        young=bool(volumes.young[number]),
    )
