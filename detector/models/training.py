"""Trains the forest of a host: when it is due, whose turn it is, what it is trained on, and whether it is put in force.

Training changes nothing that scoring writes, so that both go on beside each other: a worker claims a host, reads its
sample, trains without a transaction, and stores the forest in a short one. A claim ends by itself; whoever dies of a
training leaves nothing behind, and another one takes it up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, or_, select, update

from detector.domain import Verdict
from detector.errors import EstimatorsError, ModelError
from detector.models import channels, comparison, feedback, isolation_forest, registry, samples
from detector.models.calibration import Calibration
from detector.models.estimators import HERE
from detector.store import bulk
from detector.store.tables import hosts, model_hosts, model_trainings, models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector import config
    from detector.models.estimators import Estimators
    from detector.models.isolation_forest import Forest
    from detector.models.registry import ModelVersion, Trained
    from detector.models.samples import Sample

_HOUR_SECONDS = 3600
_ONE_HOUR_IN_TEN = 1.0  # as -log10
# Many times what the slowest training takes.
_CLAIMED_FOR = timedelta(minutes=10)
# What was in the way is seldom gone sooner.
_TRIED_AGAIN_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a training begins with."""

    host_id: int
    observed_seconds: float
    sample: Sample
    current: ModelVersion | None
    """The version in force."""
    forest: Forest | None
    """That version's forest; None also when it cannot be loaded."""
    scale: float
    """The newest version's, for when there is none to compare with."""
    strange_from: float
    """The anomaly that one benign hour in ten holds, by the calibration in force."""
    told: comparison.Told
    """What people said of alerts of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a training."""

    version: int | None
    """The forest that was stored; None: there is none."""
    accepted: bool
    """Whether it is in force."""
    reason: str
    figures: Mapping[str, Any] | None = None
    """What it did on rows that were held back."""


def due(connection: Connection, settings: config.Models, now: datetime) -> list[tuple[int, str]]:
    """The hosts whose forest is to be trained now and by nobody yet, by number and name; the longest waiting first."""
    trainings = model_trainings.c
    with_forest = select(models.c.host_id).where(models.c.state == registry.State.IN_FORCE)
    rows = connection.execute(
        select(
            hosts.c.host_id,
            hosts.c.host,
            model_hosts.c.observed_seconds,
            trainings.trained_seconds,
            hosts.c.host_id.in_(with_forest).label("has_forest"),
        )
        .join(model_hosts, model_hosts.c.host_id == hosts.c.host_id)
        .outerjoin(model_trainings, trainings.host_id == hosts.c.host_id)
        .where(or_(trainings.claimed_until.is_(None), trainings.claimed_until < now))
        .where(or_(trainings.obstacle.is_(None), trainings.tried_at < now - _TRIED_AGAIN_AFTER))
    ).all()
    waiting = [
        row for row in rows if _is_due(row.observed_seconds, row.trained_seconds, settings, has_forest=row.has_forest)
    ]
    waiting.sort(key=lambda row: (row.trained_seconds or 0.0) - row.observed_seconds)
    return [(row.host_id, row.host) for row in waiting]


def claim(connection: Connection, host_id: int, now: datetime) -> datetime | None:
    """Makes a host's training the caller's until the moment returned; None: it is another worker's."""
    # Here, since a collector has no need of them: 4 MB.
    from sqlalchemy.dialects import postgresql, sqlite

    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(kind.insert(model_trainings).values(host_id=host_id).on_conflict_do_nothing())
    until = now + _CLAIMED_FOR
    columns = model_trainings.c
    taken = connection.execute(
        update(model_trainings)
        .where(columns.host_id == host_id, or_(columns.claimed_until.is_(None), columns.claimed_until < now))
        .values(claimed_until=until)
    )
    return until if taken.rowcount else None


def is_claimed(connection: Connection, host_id: int, until: datetime) -> bool:
    """Whether a claim that ends then still holds; the row is the transaction's from here on."""
    statement = select(model_trainings.c.claimed_until).where(model_trainings.c.host_id == host_id).with_for_update()
    return connection.scalar(statement) == until


def gather(connection: Connection, host_id: int, settings: config.Models, estimators: Estimators = HERE) -> Material:
    """Reads what a host's training begins with."""
    current = registry.in_force(connection, host_id)
    forest = None
    if current is not None:
        try:
            forest = registry.load(connection, host_id, current, estimators)
        except EstimatorsError:
            raise
        except ModelError:
            # Scoring says so, and sets it aside. There is nothing to compare with.
            forest = None
    observed = connection.scalar(select(model_hosts.c.observed_seconds).where(model_hosts.c.host_id == host_id))
    tail = Calibration(connection, host_id, (channels.ISOLATION,)).tails[channels.ISOLATION.name]
    return Material(
        host_id=host_id,
        observed_seconds=observed or 0.0,
        sample=samples.read(connection, host_id, capacity=settings.train_rows),
        current=current,
        forest=forest,
        scale=registry.scale(connection, host_id),
        strange_from=tail.value_at(_ONE_HOUR_IN_TEN),
        told=comparison.Told(
            true=feedback.rows_of(connection, host_id, Verdict.TRUE),
            benign=feedback.rows_of(connection, host_id, Verdict.BENIGN),
        ),
    )


def train(material: Material, now: datetime, estimators: Estimators = HERE) -> Trained:
    """Trains a forest, and compares it with the one in force.

    Raises:
        ModelError: there are too few rows, or the process that was to do it did not.
    """
    rows = len(material.sample)
    kept = comparison.held_back(rows)
    trained, newest = material.sample.part(slice(0, rows - kept)), material.sample.part(slice(rows - kept, rows))
    if len(trained) < isolation_forest.MIN_ROWS:
        needed = isolation_forest.MIN_ROWS
        raise ModelError(
            f"{len(trained)} rows to train on, of at least {needed}",
            hint="wait: they come with what the host does; detector model list says what is in force",
        )
    forest = isolation_forest.train(trained.features, estimators)
    if material.forest is None:
        forest = replace(forest, scale=material.scale)
    else:
        hours = (newest.at // _HOUR_SECONDS).astype(np.int64)
        forest = isolation_forest.scaled(forest, material.forest, newest.features, hours)
    figures = _measured(forest, newest, material)
    of_current, compared = None, None
    if material.forest is not None and material.current is not None:
        of_current = _measured(material.forest, newest, material)
        compared = {"version": material.current.version, **of_current.as_json()}
    verdict = comparison.judge(figures, of_current)
    return registry.Trained(
        forest=forest,
        trained_at=now,
        trained_from=datetime.fromtimestamp(float(trained.at[0]), UTC),
        trained_until=datetime.fromtimestamp(float(trained.at[-1]), UTC),
        rows=len(trained),
        figures={**figures.as_json(), "in_force": compared},
        accepted=verdict.accepted,
        reason=verdict.reason,
    )


def _measured(forest: Forest, newest: Sample, material: Material) -> comparison.Figures:
    return comparison.measure(forest, newest.features, strange_from=material.strange_from, told=material.told)


def finish(connection: Connection, material: Material, trained: Trained) -> Outcome:
    """Stores what was trained, in force if it was accepted; ends the claim."""
    current = registry.in_force(connection, material.host_id)
    if (current and current.version) != (material.current and material.current.version):
        return give_up(connection, material.host_id, trained.trained_at, "another one was put in force meanwhile")
    version = registry.store(connection, material.host_id, trained)
    _note(connection, material.host_id, (material.observed_seconds, trained.trained_at, None, None))
    return Outcome(version=version, accepted=trained.accepted, reason=trained.reason, figures=trained.figures)


def give_up(connection: Connection, host_id: int, now: datetime, obstacle: str) -> Outcome:
    """Notes why a training made no forest; ends the claim. It is tried again later."""
    connection.execute(
        update(model_trainings)
        .where(model_trainings.c.host_id == host_id)
        .values(tried_at=now, obstacle=obstacle, claimed_until=None)
    )
    return Outcome(version=None, accepted=False, reason=obstacle)


def obstacle(connection: Connection, host_id: int) -> str | None:
    """Why a host has no forest in force: what the newest one was set aside for, or why none was trained; None: neither
    is the case.
    """
    of_host = registry.versions(connection, host_id)
    if any(each.state is registry.State.IN_FORCE for each in of_host):
        return None
    if of_host and of_host[0].state is registry.State.FAULTY:
        return of_host[0].reason
    found: str | None = connection.scalar(
        select(model_trainings.c.obstacle).where(model_trainings.c.host_id == host_id)
    )
    return found


def train_if_due(connection: Connection, host_id: int, settings: config.Models, now: datetime) -> None:
    """Does all of it within the transaction of `connection`, if it is due: for replays, in which nothing waits."""
    if host_id not in dict(due(connection, settings, now)) or claim(connection, host_id, now) is None:
        return
    material = gather(connection, host_id, settings)
    try:
        trained = train(material, now)
    except ModelError as fault:
        give_up(connection, host_id, now, fault.message)
    else:
        finish(connection, material, trained)


def _is_due(observed: float, trained: float | None, settings: config.Models, *, has_forest: bool) -> bool:
    if observed < settings.burn_in_hours * _HOUR_SECONDS:
        return False
    # What scoring set aside is replaced at once.
    return trained is None or not has_forest or observed - trained >= settings.train_every_hours * _HOUR_SECONDS


def _note(connection: Connection, host_id: int, values: tuple[float, datetime, None, None]) -> None:
    names = ("host_id", "trained_seconds", "tried_at", "obstacle", "claimed_until")
    bulk.upsert(connection, model_trainings, names, [(host_id, *values)])
