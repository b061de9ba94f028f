"""Makes observations of what was judged, and puts each strange row into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.domain import CHANNELS, Observation
from detector.models import channels, explain, isolation_forest
from detector.models.judgement import STRANGE
from detector.models.window import HOUR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from detector.domain import StoredCount
    from detector.models.calibration import Calibration
    from detector.models.endpoints import Endpoint
    from detector.models.isolation_forest import Forest
    from detector.models.judgement import Judgement, Sight

_SMALLEST = 1e-300
_MINUTE_SECONDS = 60.0
_SPREAD_SECONDS = {"minute": _MINUTE_SECONDS, "hour": HOUR_SECONDS, "day": 24 * HOUR_SECONDS}


def observations(
    counts: Sequence[StoredCount], sight: Sight, judgement: Judgement, calibration: Calibration, forest: Forest | None
) -> list[Observation]:
    """One observation for each count, in order; bare ones during burn-in."""
    if not sight.moment.learning.finished:
        return [_bare(stored) for stored in counts]
    combined = judgement.combined
    probabilities = {
        name: np.maximum(10.0 ** -calibration.records[channels.RECORDS[name]].corrected(said), _SMALLEST).tolist()
        for name, said in combined.by_channel.items()
    }
    unknown = [None] * len(counts)
    columns = [probabilities.get(name, unknown) for name in CHANNELS]
    reasons = Reasons(sight, judgement, calibration, forest)
    explanations: list[str | None] = [None] * len(counts)
    for row in np.flatnonzero(combined.surprise >= STRANGE).tolist():
        explanations[row] = reasons.sentence(row)
    discoveries = judgement.new.discoveries
    found = [None if each is None else each.novelty.value for each in discoveries]
    rows = zip(
        [each.key_id for each in counts],
        [each.count.session for each in counts],
        (1.0 - 10.0**-combined.surprise).tolist(),
        combined.surprise.tolist(),
        judgement.unusual.tolist(),
        combined.channels,
        [found[endpoint] for endpoint in sight.arranged.endpoint_of.tolist()],
        explanations,
        *columns,
        strict=True,
    )
    return [Observation(*values) for values in rows]


def _bare(stored: StoredCount) -> Observation:
    return Observation(key_id=stored.key_id, session=stored.count.session)


class Reasons:
    """Sentences about the rows of one snapshot."""

    def __init__(self, sight: Sight, judgement: Judgement, calibration: Calibration, forest: Forest | None) -> None:
        self._sight, self._judgement = sight, judgement
        self._calibration, self._forest = calibration, forest
        self._mosts: dict[str, float] = {}

    def sentence(self, row: int) -> str:
        """Why a row is strange, by the channel that decided."""
        channel = self._judgement.combined.channels[row]
        number = int(self._sight.arranged.endpoint_of[row])
        endpoint = self._sight.arranged.endpoints[number]
        member = self._member(channel, row)
        match channel:
            case channels.ACTOR:
                return self._actor(endpoint, member, row)
            case channels.VOLUME:
                return self._volume(endpoint, member, number)
            case channels.HOST_VOLUME:
                return self._host_volume(endpoint, member)
            case channels.FAILURES:
                return self._failures(endpoint, member, number)
            case channels.FAN_OUT | channels.PORT_SWEEP:
                return self._spread(endpoint, channel, member, number)
            case channels.BEACON:
                return self._beacon(endpoint, member, number)
            case channels.HOUR:
                hours = self._judgement.clock
                return explain.unusual_hour(active=float(hours.active[row]), possible=float(hours.possible[row]))
            case channels.EVIDENCE:
                return explain.evidence(endpoint, float(self._judgement.evidence[number]))
            case channels.FOREST if self._forest is not None:
                features = isolation_forest.strangest_features(self._forest, self._sight.matrix[row])
                return explain.combination(features)
            case _:
                return self._novelty(endpoint, number)

    def _member(self, channel: str | None, row: int) -> str:
        if channel is None:
            return ""
        return channels.MEMBERS[channel][int(self._judgement.combined.members[channel][row])].name

    def _most(self, member: str) -> float:
        """The largest count of a member that is log(1 + count), in the hours that calibration remembers."""
        if member not in self._mosts:
            self._mosts[member] = float(np.expm1(self._calibration.largest(member)))
        return self._mosts[member]

    def _novelty(self, endpoint: Endpoint, number: int) -> str:
        new = self._judgement.new
        discovery = new.discoveries[number]
        if discovery is not None:
            return explain.first_contact(endpoint, discovery.novelty, float(new.surprise[number]))
        return explain.still_new(endpoint, self._sight.moment.start_seconds - float(new.found_seconds[number]))

    def _actor(self, endpoint: Endpoint, member: str, row: int) -> str:
        kind = member.partition("_")[0]
        numbers, scores = next(
            (numbers, scores)
            for numbers, scores in zip(self._sight.actors, self._judgement.actors, strict=True)
            if numbers.kind == kind
        )
        hours = int(self._sight.subjects.values["hours"][numbers.actor[row]])
        habit, known_for = int(scores.habit[row]), float(scores.known_for[row])
        return explain.actor(endpoint, kind, habit, hours=hours, age_seconds=known_for)

    def _volume(self, endpoint: Endpoint, member: str, number: int) -> str:
        volumes = self._judgement.volumes
        if "_hour_" in member:
            return explain.volume(
                endpoint,
                connects=float(volumes.hour_connects[number]),
                usual=float(volumes.hour_usual[number]),
                period_seconds=HOUR_SECONDS,
                young=bool(volumes.hour_young[number]),
            )
        return explain.volume(
            endpoint,
            connects=float(volumes.connects[number]),
            usual=float(volumes.usual[number]),
            period_seconds=self._sight.moment.duration_seconds,
            young=bool(volumes.young[number]),
        )

    def _host_volume(self, endpoint: Endpoint, member: str) -> str:
        of_host = self._judgement.traffic
        by_hour = member == "host_hour"
        return explain.host_volume(
            endpoint,
            connects=of_host.hour_connects if by_hour else of_host.connects,
            usual=of_host.hour_usual if by_hour else of_host.usual,
            period_seconds=HOUR_SECONDS if by_hour else self._sight.moment.duration_seconds,
        )

    def _failures(self, endpoint: Endpoint, member: str, number: int) -> str:
        failing = self._judgement.failures
        usual = float(failing.usual[number])
        if member == "failures_port":
            failed, ended = float(failing.young_failed[number]), float(failing.young_ended[number])
            return explain.failing_port(endpoint, failed=failed, ended=ended, usual=usual)
        failed, ended = float(failing.failed[number]), float(failing.ended[number])
        return explain.failing(endpoint, failed=failed, ended=ended, usual=usual)

    def _spread(self, endpoint: Endpoint, channel: str | None, member: str, number: int) -> str:
        scale = member.rpartition("_")[2]
        counts = (
            self._judgement.spread.of_port if channel == channels.FAN_OUT else self._judgement.spread.of_destination
        )
        arguments: dict[str, Any] = {
            "found": float(counts[f"new_{scale}"][number]),
            "most": self._most(member),
            "period_seconds": max(_SPREAD_SECONDS[scale], self._sight.moment.duration_seconds),
        }
        if channel == channels.FAN_OUT:
            return explain.fan_out(endpoint, **arguments)
        return explain.port_sweep(endpoint, **arguments)

    def _beacon(self, endpoint: Endpoint, member: str, number: int) -> str:
        returning = self._judgement.rhythm
        if member == "persistence":
            return explain.persistence(endpoint, bins=float(returning.bins[number]), most=self._most(member))
        return explain.regularity(
            endpoint, interval_seconds=float(returning.interval[number]), variation=float(returning.variation[number])
        )
