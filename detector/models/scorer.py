"""Scores snapshots of any number of hosts, and trains their forests."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from detector.domain import Learning
from detector.errors import ModelError
from detector.models import channels, registry, review, samples, state, threshold, training
from detector.models.calibration import Calibration
from detector.models.judgement import Moment, fresh, judge, learn, look
from detector.models.observing import observations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from detector import config
    from detector.domain import Observation, SnapshotRef, StoredCount
    from detector.models.isolation_forest import Forest
    from detector.models.judgement import Judgement, Sight

_log = logging.getLogger(__name__)

_HOUR_SECONDS = 3600
# Half a megabyte each.
_FORESTS_KEPT = 512


def learning(connection: Connection, host_id: int, settings: config.Models) -> Learning:
    """How far the host's burn-in has come."""
    return _learning(state.load_host(connection, host_id).observed_seconds, settings)


def _learning(observed_seconds: float, settings: config.Models) -> Learning:
    return Learning(elapsed_seconds=observed_seconds, required_seconds=settings.burn_in_hours * _HOUR_SECONDS)


class HostScorer:
    """Knows what is normal for each host. All it knows is in the store; it keeps only loaded forests, by content."""

    def __init__(self, settings: config.Models, *, trains: bool = True) -> None:
        """`trains`: forests are trained here, in the transaction of the snapshot after which they are due. Without,
        another worker does it beside this one.
        """
        self._settings = settings
        self._trains = trains
        self._forests: dict[bytes, Forest] = {}

    def learning(self, connection: Connection, host_id: int) -> Learning:
        """How far the host's burn-in has come."""
        return learning(connection, host_id, self._settings)

    def score(
        self, connection: Connection, snapshot: SnapshotRef, counts: Sequence[StoredCount]
    ) -> tuple[list[Observation], Learning]:
        """One observation for each count, in order; then learns from them, within the transaction of `connection`.

        While the returned learning is not finished, observations hold nothing but their key and session, but for those
        of keys that a person called not normal.
        """
        refused = review.refused(connection, snapshot.host_id)
        promised = threshold.load(connection, snapshot.host_id, self._settings.false_alerts_per_day)
        usual = [each for each in counts if each.key_id not in refused]
        observed, learning = self._score(connection, snapshot, usual, promised)
        limit, others = promised.threshold(snapshot.start).surprise, iter(observed)
        return [
            review.observation(each, refused[each.key_id], limit) if each.key_id in refused else next(others)
            for each in counts
        ], learning

    def _score(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        counts: Sequence[StoredCount],
        promised: threshold.State,
    ) -> tuple[list[Observation], Learning]:
        host_id = snapshot.host_id
        host = state.load_host(connection, host_id)
        moment = self._moment(host, snapshot)
        calibration = Calibration(connection, host_id, channels.CHANNELS)
        forest = self._forest(connection, host_id) if moment.learning.finished else None
        surprises = np.zeros(0)
        observed: list[Observation] = []
        if counts:
            sight = look(connection, snapshot, counts, moment)
            judgement = judge(sight, calibration, forest, promised.threshold(snapshot.start).surprise)
            surprises = judgement.combined.surprise
            observed = observations(counts, sight, judgement, calibration, forest)
            suspicious = judgement.suspicious(moment.learning) & moment.calibrating
            taken = ~suspicious
            if moment.learning.finished and host.admits(moment.hour) and (new := suspicious & fresh(sight)).any():
                taken |= new
                host = replace(host, admitted_hour=moment.hour)
            elif not moment.learning.finished:
                taken = np.ones_like(suspicious)
            learn(sight, judgement, suspicious)
            if moment.calibrating:
                calibration.observe({name: values[taken] for name, values in judgement.values.items()})
                self._offer(connection, snapshot, counts, sight, judgement)
        if (moment.closes_hour or moment.ends_burn_in) and moment.calibrating:
            named = [each.name for each in channels.CHANNELS if each is not channels.ISOLATION or forest is not None]
            calibration.close_hour(moment.hour, named, settled=moment.settled_hours, over=moment.closes_hour)
        calibration.save()
        threshold.advance(connection, snapshot, promised, moment, surprises)
        state.save_host(connection, host_id, replace(host, observed_seconds=moment.end_seconds))
        if self._trains and moment.learning.finished:
            training.train_if_due(connection, host_id, self._settings, snapshot.end)
        return observed, moment.learning

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
            capacity=self._settings.train_rows,
        )

    def _forest(self, connection: Connection, host_id: int) -> Forest | None:
        """The forest in force."""
        model = registry.in_force(connection, host_id)
        if model is None:
            return None
        # By content and not by version: a version that was rolled back may come again with another content.
        forest = self._forests.get(model.digest)
        if forest is None:
            try:
                forest = registry.load(connection, host_id, model)
            except ModelError as fault:
                # Stored with the model, where an operator sees it; scoring goes on without the forest.
                registry.set_aside(connection, host_id, model, fault)
                _log.error("%s; %s", fault.message, fault.hint)
                return None
            if len(self._forests) >= _FORESTS_KEPT:
                del self._forests[next(iter(self._forests))]
            self._forests[model.digest] = forest
        return forest
