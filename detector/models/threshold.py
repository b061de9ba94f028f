"""A host's threshold as it stands in the store: read for a snapshot, moved at the end of each observed hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, delete, select

from detector import shipped
from detector.domain import Verdict
from detector.models import moves, promise
from detector.models.calibration import Prior, fit
from detector.models.week import Week
from detector.store import bulk
from detector.store.tables import alert_verdicts, alerts, model_hours, model_promises

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.domain import SnapshotRef
    from detector.models.judgement import Moment

CHANNEL = "combined"
"""Of the hourly maxima of the surprise, among those of the channels."""
KEPT = timedelta(days=28)
"""For how long hours and alerts count."""
_KEPT_HOURS = KEPT.days * 24
# As for a channel: what is under way raises the threshold slowly.
_WINSOR = 2.5
# A host is young for a week. Its tail begins with the upper end of what others have, and these are the most looked at.
_YOUNG_HOURS = 7 * 24
_OTHERS = 64
_UPPER = 0.9
# Nobody watched for so long: the host was down, or the collector.
_GAP = timedelta(minutes=1)
AFTER_RESTART = timedelta(minutes=30)
"""For so long what happens may be a restart's doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is stored of a host's promise."""

    false_alerts_per_day: float
    """The promise that `observed` was made for."""
    maximum: float = 0.0
    """The largest surprise of the observed hour that is under way."""
    observed: float
    correction: float = 0.0
    hours: int = 0
    """See `promise.Threshold`."""
    prior: Prior = promise.THEORY
    """What the tail begins with."""
    tail: Prior = promise.THEORY
    """Where the tail is now, for young hosts to begin with."""
    week: Week
    scored_since: datetime | None = None
    """When burn-in was over."""
    restarts: int = 0
    """How often the host came back after nobody had watched it."""
    restarted_at: datetime | None = None
    """When it last did."""
    until: datetime | None = None
    """The end of the last snapshot that was taken in."""

    def threshold(self, moment: datetime) -> promise.Threshold:
        """The threshold in force at a moment."""
        return promise.Threshold(
            promised=promise.surprise_at(self.false_alerts_per_day),
            observed=self.observed,
            correction=self.correction,
            uncertainty=promise.uncertainty(self._evidence(moment), self.false_alerts_per_day),
            hours=self.hours,
        )

    def follows_a_gap(self, moment: datetime) -> bool:
        """Whether a snapshot that begins then is the first after a while in which nobody watched."""
        return self.until is not None and moment - self.until > _GAP

    def _evidence(self, moment: datetime) -> float:
        """How many days like this one tell of a moment; of one after a restart no more than there were restarts."""
        of_week = self.week.evidence(moment)
        if self.follows_a_gap(moment):
            return min(of_week, self.restarts)
        if self.restarted_at is not None and timedelta(0) <= moment - self.restarted_at < AFTER_RESTART:
            return min(of_week, self.restarts - 1)
        return of_week


def load(connection: Connection, host_id: int, false_alerts_per_day: float) -> State:
    """A host's state; what the promise alone says when there is none, or when another one was promised."""
    row = connection.execute(select(model_promises).where(model_promises.c.host_id == host_id)).first()
    if row is None:
        promised = promise.surprise_at(false_alerts_per_day)
        return State(false_alerts_per_day=false_alerts_per_day, observed=promised, week=Week())
    state = State(
        false_alerts_per_day=row.false_alerts_per_day,
        maximum=row.maximum,
        observed=row.observed,
        correction=row.correction,
        hours=row.hours,
        prior=Prior(row.prior_threshold, row.prior_scale),
        tail=Prior(row.tail_threshold, row.tail_scale),
        week=Week.unpack(row.week),
        scored_since=row.scored_since,
        restarts=row.restarts,
        restarted_at=row.restarted_at,
        until=row.until,
    )
    if state.false_alerts_per_day == false_alerts_per_day:
        return state
    tail = fit(_maxima(connection, host_id), state.prior)
    observed = tail.value_at(promise.surprise_at(false_alerts_per_day))
    return replace(state, false_alerts_per_day=false_alerts_per_day, observed=observed, correction=0.0)


def advance(
    connection: Connection, snapshot: SnapshotRef, state: State, moment: Moment, surprises: npt.NDArray[np.float64]
) -> None:
    """Takes the surprises (n,) of a snapshot into the hour; the last one of an hour moves the threshold."""
    if state.follows_a_gap(snapshot.start):
        state = replace(state, restarts=state.restarts + 1, restarted_at=snapshot.start)
    week = state.week.with_time(snapshot.start, moment.duration_seconds)
    state = replace(state, week=week, until=snapshot.end)
    if moment.learning.finished and state.scored_since is None:
        state = replace(state, scored_since=snapshot.start)
    if moment.learning.finished:
        # Before, all is more surprising than it will ever be again.
        state = replace(state, maximum=max(state.maximum, float(surprises.max(initial=0.0))))
        if moment.closes_hour:
            state = _closed(connection, snapshot, state, moment)
    _save(connection, snapshot.host_id, state)


def false_alerts(connection: Connection, host_id: int, *, since: datetime, until: datetime) -> list[datetime]:
    """When the rule on scores opened alerts of a host that nobody called true, in order."""
    columns = alerts.c
    true = select(alert_verdicts.c.alert_id).where(alert_verdicts.c.verdict == Verdict.TRUE)
    return list(
        connection.scalars(
            select(columns.opened_at)
            .where(columns.host_id == host_id, columns.rule_id == shipped.ANOMALY_RULE)
            .where(columns.opened_at.between(since, until), columns.alert_id.not_in(true))
            .order_by(columns.opened_at)
        )
    )


def correction(connection: Connection, host_id: int, state: State, now: datetime) -> float:
    """What the alerts of the last four weeks add to the host's threshold, or take away."""
    if state.scored_since is None:
        return 0.0
    since = min(max(now - KEPT, state.scored_since), now)
    told = false_alerts(connection, host_id, since=since, until=now)
    return promise.corrected(
        told,
        since=since,
        until=now,
        false_alerts_per_day=state.false_alerts_per_day,
        lowest=state.threshold(now).lowest_correction,
    )


def _closed(connection: Connection, snapshot: SnapshotRef, state: State, moment: Moment) -> State:
    host_id = snapshot.host_id
    maxima = _maxima(connection, host_id)
    prior = _pooled(connection, host_id) if state.hours < _YOUNG_HOURS else state.prior
    maximum = min(state.maximum, fit(maxima, prior).value_at(_WINSOR))
    row = (host_id, CHANNEL, moment.hour, maximum)
    bulk.upsert(connection, model_hours, ("host_id", "channel", "hour", "maximum"), [row])
    of_channel = (model_hours.c.host_id == host_id) & (model_hours.c.channel == CHANNEL)
    connection.execute(delete(model_hours).where(of_channel, model_hours.c.hour <= moment.hour - _KEPT_HOURS))
    tail = fit([*maxima, maximum], prior)
    after = replace(
        state,
        maximum=0.0,
        prior=prior,
        tail=Prior(tail.threshold, tail.scale),
        observed=tail.value_at(promise.surprise_at(state.false_alerts_per_day)),
        hours=state.hours + 1,
    )
    after = replace(after, correction=correction(connection, host_id, after, snapshot.end))
    moves.note(connection, host_id, snapshot.end, after.threshold(snapshot.end))
    return after


def _pooled(connection: Connection, host_id: int) -> Prior:
    """What the tail of a young host begins with: the upper end of what the longest observed ones have."""
    columns = model_promises.c
    rows = connection.execute(
        select(columns.tail_threshold, columns.tail_scale)
        .where(columns.host_id != host_id, columns.hours >= _YOUNG_HOURS)
        .order_by(columns.hours.desc(), columns.host_id)
        .limit(_OTHERS)
    ).all()
    if not rows:
        return promise.THEORY
    threshold, scale = np.quantile(np.array([tuple(row) for row in rows]), _UPPER, axis=0, method="higher").tolist()
    return Prior(max(promise.THEORY.threshold, threshold), max(promise.THEORY.scale, scale))


def _maxima(connection: Connection, host_id: int) -> list[float]:
    columns = model_hours.c
    of_channel = (columns.host_id == host_id) & (columns.channel == CHANNEL)
    return list(connection.scalars(select(columns.maximum).where(of_channel).order_by(columns.hour)))


def _save(connection: Connection, host_id: int, state: State) -> None:
    values = {
        "host_id": host_id,
        "false_alerts_per_day": state.false_alerts_per_day,
        "maximum": state.maximum,
        "observed": state.observed,
        "correction": state.correction,
        "hours": state.hours,
        "prior_threshold": state.prior.threshold,
        "prior_scale": state.prior.scale,
        "tail_threshold": state.tail.threshold,
        "tail_scale": state.tail.scale,
        "week": state.week.pack(),
        "scored_since": state.scored_since,
        "restarts": state.restarts,
        "restarted_at": state.restarted_at,
        "until": state.until,
    }
    bulk.upsert(connection, model_promises, tuple(values), [tuple(values.values())])
