"""What the models say of one snapshot: each channel's verdict, and what is learnt from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models import (
    actors,
    ageing,
    baseline,
    channels,
    clock,
    evidence,
    facts,
    failures,
    features,
    isolation_forest,
    novelty,
    rhythm,
    spread,
    state,
    traffic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from sqlalchemy import Connection

    from detector.domain import Learning, SnapshotRef, StoredCount
    from detector.models.calibration import Calibration
    from detector.models.isolation_forest import Forest
    from detector.models.memory import Memory

_HOUR_SECONDS = 3600
# The part of burn-in before hours are worth calibrating on: everything is new in it (docs/models.md, "Learning").
_CALIBRATION_STARTS = 0.25
# An attack that is not noticed in a day was not going to be; in a day it must not have made itself usual.
_SETTLED_AFTER_HOURS = 24
# A score of .9. From here on rows are explained, and kept out of the forest's training.
STRANGE = 1.0

_ADDING_UP = (channels.NOVELTY, channels.ACTOR, channels.VOLUME, channels.FAILURES)
_PERSISTENCE = "persistence"


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
    def ends_burn_in(self) -> bool:
        """Whether it is the last one of burn-in: what was seen of its hour is then learnt."""
        return self.learning.finished and self.start_seconds < self.learning.required_seconds

    @property
    def follows_burn_in(self) -> bool:
        """Whether burn-in was over before it."""
        return self.learning.finished and not self.ends_burn_in

    @property
    def settled_hours(self) -> range:
        """The observed hours that calibration takes for benign: up to a day ago, or to the end of burn-in.

        In burn-in everything is new, and its hours hold more than any will again: each that follows takes the place of
        the oldest of them, until there are none left.
        """
        of_burn_in = math.ceil(self.learning.required_seconds / _HOUR_SECONDS)
        end = 1 + max(self.hour - _SETTLED_AFTER_HOURS, min(self.hour, of_burn_in - 1))
        return range(min(of_burn_in, max(0, end - of_burn_in)), end)

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
    familiar: npt.NDArray[np.int64]
    """(n, 7) the subjects of the forest's features."""
    hosts: npt.NDArray[np.int64]
    actors: tuple[actors.ActorSubjects, ...]
    clock: clock.ClockSubjects
    matrix: npt.NDArray[np.float32]
    """The isolation forest's input."""
    sampled: npt.NDArray[np.int64]
    """(n,) whose rows they are in the sample of its training."""

    def of_endpoints(self, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of each endpoint (m,), whether one of its rows (n,) is."""
        return np.bincount(self.arranged.endpoint_of[rows], minlength=len(self.arranged.endpoints)) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the channels say of a snapshot's n rows and m endpoints."""

    new: novelty.NoveltyScores
    actors: tuple[actors.ActorScores, ...]
    volumes: baseline.Volumes
    traffic: traffic.Traffic
    failures: failures.Failures
    spread: spread.Spread
    rhythm: rhythm.Rhythm
    clock: clock.ClockScores
    evidence: npt.NDArray[np.float64]
    """(m,)"""
    values: dict[str, npt.NDArray[np.float64]]
    """(n,) of each member of a channel that is calibrated."""
    combined: channels.Combined
    threshold: float
    """The surprise from which on a row is unusual: see `promise`."""
    accepted: npt.NDArray[np.bool_]
    """(n,) the rows that would be strange, had not a person called them benign."""

    @property
    def unusual(self) -> npt.NDArray[np.bool_]:
        """(n,) the rows of which people may be told."""
        return self.combined.surprise >= self.threshold

    def suspicious(self, learning: Learning) -> npt.NDArray[np.bool_]:
        """(n,) the rows that are not learnt as usual: the unusual ones, but for what only the forest finds strange.

        While a host is being learnt there are too few hours for much to be unusual, and what is strange will do. Later
        it must be strange as well: on a host whose threshold is low, all that people are told of would go on being
        unusual for as long as it lasts.
        """
        bar = max(self.threshold, STRANGE) if learning.finished else min(self.threshold, STRANGE)
        rows: npt.NDArray[np.bool_] = (self.combined.surprise >= bar) & ~self._by_forest
        return rows

    @property
    def worth_training_on(self) -> npt.NDArray[np.bool_]:
        """(n,) all rows but the strange ones; what only the forest finds strange it must come to know."""
        worth: npt.NDArray[np.bool_] = (self.combined.surprise < STRANGE) | self._by_forest
        return worth

    @property
    def _by_forest(self) -> npt.NDArray[np.bool_]:
        return np.array([channel == channels.FOREST for channel in self.combined.channels], dtype=bool)


def look(
    connection: Connection,
    snapshot: SnapshotRef,
    counts: Sequence[StoredCount],
    moment: Moment,
    memory: Memory | None = None,
) -> Sight:
    """Looks at a snapshot's rows, of which there is at least one; reads what is known of them and not remembered."""
    subjects = state.Subjects(connection, snapshot.host_id, memory)
    of_keys = facts.look_up(subjects, counts)
    arranged = features.arrange(counts, of_keys)
    familiar = features.familiar_now(subjects, counts, of_keys, snapshot.end)
    baseline.number_host(subjects, outbound=False)
    traffic.number(subjects)
    of_actors = actors.number(subjects, of_keys)
    of_clock = clock.number(subjects, counts, of_keys, snapshot.end)
    subjects.load()
    hours = moment.start_seconds / _HOUR_SECONDS
    matrix = features.matrix(of_keys, arranged, subjects, familiar, moment=snapshot.end, observed_hours=hours)
    return Sight(
        moment=moment,
        arranged=arranged,
        subjects=subjects,
        endpoints=features.of_endpoints(of_keys, arranged),
        familiar=familiar,
        hosts=of_keys.host[arranged.first],
        actors=of_actors,
        clock=of_clock,
        matrix=matrix,
        sampled=of_keys.sampled,
    )


def judge(
    sight: Sight,
    calibration: Calibration,
    forest: Forest | None,
    threshold: float,
    levels: npt.NDArray[np.float64] | None = None,
) -> Judgement:
    """Each channel's verdict, as things stood before the snapshot.

    Args:
        sight: the snapshot.
        calibration: the tails in force.
        forest: the one in force, if there is one.
        threshold: the surprise from which on a row is unusual.
        levels: (n,) the surprise at rows that a person called benign, NaN for others; None: there is none.
    """
    moment, arranged, subjects, endpoints = sight.moment, sight.arranged, sight.subjects, sight.endpoints
    now, duration = moment.start_seconds, moment.duration_seconds
    new = novelty.judge(subjects, arranged.endpoints, endpoints, now_seconds=now)
    by_actor = tuple(actors.judge(subjects, each, hour=moment.hour, now_seconds=now) for each in sight.actors)
    volumes = baseline.judge(subjects, arranged, endpoints, sight.hosts, now_seconds=now, duration_seconds=duration)
    of_host = traffic.judge(subjects, arranged, volumes, now_seconds=now)
    failing = failures.judge(subjects, arranged, endpoints, sight.hosts, now_seconds=now)
    spreading = spread.judge(subjects, arranged, endpoints, now_seconds=now)
    returning = rhythm.judge(subjects, arranged, endpoints, now_seconds=now, duration_seconds=duration)
    hours = clock.judge(subjects, sight.clock, now_seconds=now)
    values = _endpoint_values(sight, volumes, of_host, failing, spreading, returning)
    for numbers, scores in zip(sight.actors, by_actor, strict=True):
        if subjects.known[numbers.population]:
            values[f"{numbers.kind}_habit"] = scores.surprise
    if subjects.known[sight.clock.anybody]:
        values["hour_of_week"] = hours.rarity
    if forest is not None:
        values[channels.ISOLATION.name] = isolation_forest.anomaly(forest, sight.matrix)
    surprises = {channels.FIRST_CONTACT.name: new.surprise[arranged.endpoint_of]}
    surprises |= {name: calibration.tails[name].surprise(value) for name, value in values.items()}
    surprises |= {name: np.minimum(surprises[name], values[name]) for name in channels.OF_ACTORS & values.keys()}
    accepted = np.zeros(len(sight.arranged.endpoint_of), dtype=bool)
    if levels is not None:
        strange = channels.combine(surprises).surprise >= STRANGE
        surprises = channels.without_accepted(surprises, levels)
        accepted = strange & (channels.combine(surprises).surprise < STRANGE)
    piling = evidence.judge(
        subjects, arranged, endpoints, _adding_up(sight, surprises), now_seconds=now, duration_seconds=duration
    )
    values["evidence"] = piling[arranged.endpoint_of]
    surprises["evidence"] = calibration.tails["evidence"].surprise(values["evidence"])
    if levels is not None:
        surprises["evidence"] = np.where(np.isnan(levels), surprises["evidence"], 0.0)
    return Judgement(
        new=new,
        actors=by_actor,
        volumes=volumes,
        traffic=of_host,
        failures=failing,
        spread=spreading,
        rhythm=returning,
        clock=hours,
        evidence=piling,
        values=values,
        combined=channels.combine(surprises),
        threshold=threshold,
        accepted=accepted,
    )


def learn(sight: Sight, judgement: Judgement, suspicious: npt.NDArray[np.bool_]) -> None:
    """Takes the snapshot into what is known, and writes that; suspicious rows (n,) not into what is usual."""
    moment, subjects, endpoints, arranged = sight.moment, sight.subjects, sight.endpoints, sight.arranged
    now, hour, duration = moment.start_seconds, moment.hour, moment.duration_seconds
    strange = sight.of_endpoints(suspicious)
    rhythm.learn(subjects, endpoints, judgement.rhythm, now_seconds=now)
    for numbers, scores in zip(sight.actors, judgement.actors, strict=True):
        actors.learn(subjects, numbers, scores, suspicious, hour=hour, now_seconds=now)
    at_hours = features.CLOCK_HOUR
    familiar = np.concatenate(
        [np.delete(sight.familiar, at_hours, axis=1).ravel(), sight.familiar[~suspicious, at_hours]]
    )
    of_actors = [each for numbers in sight.actors for each in numbers.columns]
    subjects.touch(np.concatenate([*endpoints.columns, familiar, *of_actors]), hour=hour, now_seconds=now)
    clock.learn(subjects, sight.clock, suspicious, hour=hour, now_seconds=now)
    novelty.learn(subjects, arranged.endpoints, endpoints, judgement.new, strange, hour=hour, now_seconds=now)
    baseline.learn(
        subjects, endpoints, sight.hosts, judgement.volumes, strange, now_seconds=now, duration_seconds=duration
    )
    traffic.learn(
        subjects, judgement.traffic, suspicious=bool(strange.any()), now_seconds=now, duration_seconds=duration
    )
    failures.learn(subjects, arranged, endpoints, sight.hosts, judgement.failures, strange, now_seconds=now)
    spread.learn(subjects, arranged, endpoints, judgement.spread, now_seconds=now)
    evidence.learn(subjects, arranged, endpoints, judgement.evidence, now_seconds=now)
    # What was met in burn-in is what is usual, whatever it looked like in its first hours.
    held = suspicious & moment.learning.finished
    _age(sight, held)
    subjects.save()


def fresh(sight: Sight) -> npt.NDArray[np.bool_]:
    """(n,) the rows whose address and port, and whose destination, were not suspicious when they were last seen."""
    endpoints = sight.endpoints
    old = ageing.flagged(sight.subjects, endpoints.pair) | ageing.flagged(sight.subjects, endpoints.destination)
    new: npt.NDArray[np.bool_] = ~old[sight.arranged.endpoint_of]
    return new


def _age(sight: Sight, held: npt.NDArray[np.bool_]) -> None:
    now, subjects, endpoints = sight.moment.start_seconds, sight.subjects, sight.endpoints
    strange = sight.of_endpoints(held)
    ageing.learn(subjects, endpoints.pair, strange, now)
    ageing.learn(subjects, endpoints.destination, strange, now)
    for numbers in sight.actors:
        ageing.learn(subjects, numbers.destination[numbers.named], held[numbers.named], now)
        ageing.learn(subjects, numbers.actor[numbers.named], held[numbers.named], now)


def _endpoint_values(
    sight: Sight,
    volumes: baseline.Volumes,
    of_host: traffic.Traffic,
    failing: failures.Failures,
    spreading: spread.Spread,
    returning: rhythm.Rhythm,
) -> dict[str, npt.NDArray[np.float64]]:
    """(n,) of each member that is about endpoints."""
    arranged = sight.arranged
    of_row, web = arranged.endpoint_of, arranged.web
    values = {name: value[of_row] * arranged.credited for name, value in _volumes(sight, volumes).items()}
    of_endpoints = {
        "host_snapshot": of_host.excess,
        "host_hour": of_host.hour_excess,
        "failures_destination": failing.to_destination,
        "failures_port": failing.to_port,
        "fan_out_minute": spreading.fan_out("new_minute") * ~web,
        "fan_out_hour": spreading.fan_out("new_hour") * ~web,
        "fan_out_day": spreading.fan_out("new_day") * ~web,
        "fan_out_web_minute": spreading.fan_out("new_minute") * web,
        "fan_out_web_hour": spreading.fan_out("new_hour") * web,
        "sweep_minute": spreading.sweep("new_minute"),
        "sweep_hour": spreading.sweep("new_hour"),
        "sweep_day": spreading.sweep("new_day"),
        _PERSISTENCE: returning.persistence,
        "regularity": returning.regularity,
    }
    for name, value in of_endpoints.items():
        values[name] = value[of_row]
        if name.startswith("host_"):
            values[name] = values[name] * arranged.credited
    return values


def _volumes(sight: Sight, volumes: baseline.Volumes) -> dict[str, npt.NDArray[np.float64]]:
    """(m,) of each volume member; those of inbound volume only on a host that was connected to."""
    parts = (
        volumes.excess * volumes.young,
        volumes.excess * ~volumes.young,
        volumes.hour_excess * volumes.hour_young,
        volumes.hour_excess * ~volumes.hour_young,
    )
    outbound = sight.arranged.outbound
    directions = [(channels.OUTBOUND_VOLUME, outbound)]
    if (~outbound).any() or sight.subjects.known[baseline.number_host(sight.subjects, outbound=False)]:
        directions.append((channels.INBOUND_VOLUME, ~outbound))
    return {
        channel.name: part * direction
        for members, direction in directions
        for channel, part in zip(members, parts, strict=True)
    }


def _adding_up(sight: Sight, surprises: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """(m,) the largest surprise of the members whose repetition is evidence."""
    names = [each.name for channel in _ADDING_UP for each in channels.MEMBERS[channel]]
    of_rows = np.stack([surprises[name] for name in (*names, _PERSISTENCE) if name in surprises]).max(axis=0)
    largest = np.zeros(len(sight.arranged.endpoints))
    np.maximum.at(largest, sight.arranged.endpoint_of, of_rows)
    return largest
