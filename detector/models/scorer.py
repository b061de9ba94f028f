"""Scores snapshots of any number of hosts, and trains their forests."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import Learning
from detector.errors import EstimatorsError, ModelError
from detector.models import channels, moves, promise, registry, said, samples, state, threshold, training
from detector.models.calibration import Calibration
from detector.models.estimators import HERE
from detector.models.judgement import Moment, fresh, judge, learn, look
from detector.models.memory import Memories
from detector.models.observing import observations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from detector import config
    from detector.domain import Observation, SnapshotRef, StoredCount, ThresholdMove
    from detector.models.estimators import Estimators
    from detector.models.isolation_forest import Forest
    from detector.models.judgement import Judgement, Sight
    from detector.models.said import Said

_log = logging.getLogger(__name__)

_HOUR_SECONDS = 3600
_OF_FOREST = frozenset({channels.ISOLATION.name, channels.RECORDS[channels.FOREST]})
# Half a megabyte each, one of a host.
_FORESTS_KEPT = 512
_READ_AGAIN_SECONDS = 60.0


def learning(connection: Connection, host_id: int, settings: config.Models) -> Learning:
    """How far the host's burn-in has come."""
    return _learning(state.load_host(connection, host_id).observed_seconds, settings)


def _learning(observed_seconds: float, settings: config.Models) -> Learning:
    return Learning(elapsed_seconds=observed_seconds, required_seconds=settings.burn_in_hours * _HOUR_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What a snapshot is judged by, as it stood before it."""

    host: state.HostState
    moment: Moment
    promised: threshold.State
    limit: float
    """The surprise from which on a row is unusual."""
    calibration: Calibration
    forest: Forest | None


class HostScorer:
    """Knows what is normal for each host. All it knows is in the store; what it keeps beside, forests by content and
    subjects by the store's mark, only saves reading.
    """

    def __init__(
        self,
        settings: config.Models,
        *,
        trains: bool = True,
        estimators: Estimators = HERE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trains`: forests are trained here, in the transaction of the snapshot after which they are due. Without,
        another worker does it beside this one. `estimators`: who reads them. `clock`: seconds, of any beginning.
        """
        self._settings = settings
        self._trains = trains
        # By host, with the digest of its content.
        self._forests: dict[int, tuple[bytes, Forest]] = {}
        self._estimators, self._clock = estimators, clock
        self._read_again = clock()
        self._memories = Memories()

    @property
    def remembered(self) -> int:
        """How many subjects and keys are in memory."""
        return self._memories.size

    def learning(self, connection: Connection, host_id: int) -> Learning:
        """How far the host's burn-in has come."""
        return learning(connection, host_id, self._settings)

    def moved(self, connection: Connection, snapshot: SnapshotRef) -> ThresholdMove | None:
        """The move of the host's threshold that came of a snapshot, the last one scored; None: of that came none."""
        promised = promise.surprise_at(self._settings.false_alerts_per_day)
        found = moves.latest(connection, snapshot.host_id, promised=promised, most=1)
        return found[0] if found and found[0].at == snapshot.end else None

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[list[Observation], Learning]:
        """One observation for each count, in order; then learns from them, within the transaction of `connection`.

        While the returned learning is not finished, observations hold nothing but their key and session, but for those
        of keys that a person called not normal.
        """
        words = said.about(connection, snapshot.host_id, counts)
        standing = self._standing(connection, snapshot)
        told = _refused(connection, snapshot, counts, standing, words)
        usual = [each for row, each in enumerate(counts) if row not in told]
        observed = iter(self._score(connection, snapshot, usual, standing, words))
        return [told[row] if row in told else next(observed) for row in range(len(counts))], standing.moment.learning

    def _standing(self, connection: Connection, snapshot: SnapshotRef) -> _Standing:
        host_id = snapshot.host_id
        host = state.load_host(connection, host_id)
        moment = self._moment(host, snapshot)
        promised = threshold.load(connection, host_id, self._settings.false_alerts_per_day)
        return _Standing(
            host=host,
            moment=moment,
            promised=promised,
            limit=promised.threshold(snapshot.start).surprise,
            calibration=Calibration(connection, host_id, channels.CHANNELS, channels.RECORDED_HOURS),
            forest=self._forest(connection, host_id) if moment.learning.finished else None,
        )

    def _score(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        counts: Sequence[StoredCount],
        standing: _Standing,
        words: Mapping[int, Said],
    ) -> list[Observation]:
        """Judges counts that are not refused, and learns from them and from the time that has passed."""
        host_id, host, moment = snapshot.host_id, standing.host, standing.moment
        calibration, forest = standing.calibration, standing.forest
        surprises = np.zeros(0)
        observed: list[Observation] = []
        if counts:
            memory = self._memories.take(host_id, host.mark, moment.hour)
            sight = look(connection, snapshot, counts, moment, memory)
            judgement = judge(sight, calibration, forest, standing.limit, said.levels(counts, words))
            surprises = judgement.combined.surprise
            observed = observations(counts, sight, judgement, calibration, forest)
            for row in np.flatnonzero(judgement.accepted & moment.learning.finished).tolist():
                observed[row] = said.accepted(observed[row], words[counts[row].key_id])
            suspicious = judgement.suspicious(moment.learning) & moment.calibrating
            taken = ~suspicious
            if moment.learning.finished and host.admits(moment.hour) and (new := suspicious & fresh(sight)).any():
                taken |= new
                host = replace(host, admitted_hour=moment.hour)
            elif not moment.learning.finished:
                taken = np.ones_like(suspicious)
            learn(sight, judgement, suspicious)
            host = replace(host, mark=sight.subjects.mark)
            self._memories.keep(host_id, memory)
            if moment.calibrating:
                # In burn-in a channel has no record: everything is more surprising than it will ever be again.
                of_channels = judgement.combined.by_channel if moment.follows_burn_in else {}
                values = judgement.values | {channels.RECORDS[name]: each for name, each in of_channels.items()}
                calibration.observe({name: each[taken] for name, each in values.items()})
                self._offer(connection, snapshot, counts, sight, judgement)
        if (moment.closes_hour or moment.ends_burn_in) and moment.calibrating:
            named = [each.name for each in channels.CHANNELS]
            named += channels.RECORDS.values() if moment.follows_burn_in else ()
            if forest is None:
                named = [name for name in named if name not in _OF_FOREST]
            calibration.close_hour(moment.hour, named, settled=moment.settled_hours, over=moment.closes_hour)
        calibration.save()
        threshold.advance(connection, snapshot, standing.promised, moment, surprises)
        state.save_host(connection, host_id, replace(host, observed_seconds=moment.end_seconds))
        if self._trains and moment.learning.finished:
            training.train_if_due(connection, host_id, self._settings, snapshot.end)
        return observed

    def _moment(self, host: state.HostState, snapshot: SnapshotRef) -> Moment:
        duration = (snapshot.end - snapshot.start).total_seconds()
        duration = min(max(duration, 0.0), state.LONGEST_SNAPSHOT_SECONDS)
        return Moment(
            start_seconds=host.observed_seconds,
            duration_seconds=duration,
            learning=_learning(host.observed_seconds + duration, self._settings),
        )

    def _offer(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        counts: Sequence[StoredCount],
        sight: Sight,
        judgement: Judgement,
    ) -> None:
        """Offers the rows that are not strange to the sample; during burn-in all."""
        rows = np.arange(len(counts))
        if sight.moment.learning.finished:
            rows = rows[judgement.worth_training_on]
        samples.offer(
            connection,
            snapshot,
            [counts[row] for row in rows.tolist()],
            sight.matrix[rows],
            sight.sampled[rows],
            capacity=self._settings.train_rows,
        )

    def _forest(self, connection: Connection, host_id: int) -> Forest | None:
        """The forest in force."""
        model = registry.in_force(connection, host_id)
        if model is None:
            return None
        digest, forest = self._forests.get(host_id, (None, None))
        # By content and not by version: a version that was rolled back may come again with another content.
        if forest is None or digest != model.digest:
            if self._clock() < self._read_again:
                return None
            try:
                forest = registry.load(connection, host_id, model, self._estimators)
            except EstimatorsError as fault:
                self._read_again = self._clock() + _READ_AGAIN_SECONDS
                _log.error("%s; scores are given without a forest meanwhile; %s", fault.message, fault.hint)
                return None
            except ModelError as fault:
                # Stored with the model, where an operator sees it; scoring goes on without the forest.
                registry.set_aside(connection, host_id, model, fault)
                _log.error("%s; %s", fault.message, fault.hint)
                return None
            # The one before is not needed again.
            self._forests.pop(host_id, None)
            if len(self._forests) >= _FORESTS_KEPT:
                del self._forests[next(iter(self._forests))]
            self._forests[host_id] = model.digest, forest
        return forest


def _refused(
    connection: Connection,
    snapshot: SnapshotRef,
    counts: Sequence[StoredCount],
    standing: _Standing,
    words: Mapping[int, Said],
) -> dict[int, Observation]:
    """What is said of the counts that a person called not normal, by their places; nothing is learnt of them."""
    if all(each.normal for each in words.values()):
        return {}
    # Beside the others, as they came; what is learnt from those comes of a look without these.
    sight = look(connection, snapshot, counts, standing.moment)
    judgement = judge(sight, standing.calibration, standing.forest, standing.limit)
    judged = observations(counts, sight, judgement, standing.calibration, standing.forest)
    return {
        row: said.refused(judged[row], words[each.key_id], standing.limit)
        for row, (each, surprise) in enumerate(zip(counts, judgement.combined.surprise.tolist(), strict=True))
        if each.key_id in words and words[each.key_id].refuses(surprise)
    }
