"""Keeps trained forests in the store: versions, what they were trained with, and whether they can be used."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from detector.errors import ModelError
from detector.models import isolation_forest
from detector.models.estimators import HERE, PARAMETERS, library
from detector.models.features import FEATURES
from detector.models.isolation_forest import Forest
from detector.store.tables import hosts, models
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from detector.models.estimators import Estimators

_KEPT_VERSIONS = 5  # beside the one in force
_HINT = "nothing to do: a new one is trained from the stored sample; if it happens again, look at who writes the store"


class State(StrEnum):
    """What became of a forest."""

    IN_FORCE = "in_force"
    REPLACED = "replaced"
    REFUSED = "refused"
    """It did worse than the one in force."""
    ROLLED_BACK = "rolled_back"
    """A person put another one in its place."""
    FAULTY = "faulty"
    """It could not be loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A stored forest, without its content."""

    version: int
    trained_at: datetime
    trained_from: datetime | None
    """When the oldest row of its training was seen; None of forests of older versions of detector."""
    trained_until: datetime | None
    rows: int
    """Rows of its training."""
    features: tuple[str, ...]
    parameters: Mapping[str, Any]
    figures: Mapping[str, Any] | None
    """See `comparison.Figures`; of the one in force at that time as well."""
    digest: bytes
    state: State
    reason: str | None
    """Why it is in that state."""


_DESCRIBED = [models.c[field.name] for field in fields(ModelVersion)]


def versions(connection: Connection, host_id: int) -> list[ModelVersion]:
    """The stored forests of a host, newest first."""
    rows = connection.execute(
        select(*_DESCRIBED).where(models.c.host_id == host_id).order_by(models.c.version.desc())
    ).mappings()
    return [_described(row) for row in rows]


def versions_by_host(connection: Connection, host: str | None = None) -> dict[str, list[ModelVersion]]:
    """The stored forests of each host that has any, or of one host; each newest first."""
    statement = select(hosts.c.host_id, hosts.c.host).order_by(hosts.c.host)
    if host is not None:
        statement = statement.where(hosts.c.host == host)
    found = {row.host: versions(connection, row.host_id) for row in connection.execute(statement)}
    return {name: of_host for name, of_host in found.items() if of_host}


def in_force(connection: Connection, host_id: int) -> ModelVersion | None:
    """The forest that a host's rows are scored by; None when there is none that can be used."""
    found = connection.execute(
        select(*_DESCRIBED).where(models.c.host_id == host_id, models.c.state == State.IN_FORCE)
    ).mappings()
    row = found.first()
    return None if row is None else _described(row)


def scale(connection: Connection, host_id: int) -> float:
    """In which units the newest version measures, whatever became of it; 1 when there is none."""
    newest = select(models.c.parameters).where(models.c.host_id == host_id).order_by(models.c.version.desc()).limit(1)
    found = (connection.scalar(newest) or {}).get("scale")
    return found if isinstance(found, float) and _is_unit(found) else 1.0


def _is_unit(scale: float) -> bool:
    return math.isfinite(scale) and scale > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A forest, and what is to be known of its training."""

    forest: Forest
    trained_at: datetime
    trained_from: datetime
    trained_until: datetime
    rows: int
    figures: Mapping[str, Any]
    accepted: bool
    """Whether it is put in force."""
    reason: str


def store(connection: Connection, host_id: int, trained: Trained) -> int:
    """Stores a forest as the host's newest version, in force if it was accepted; drops the oldest beyond five others.

    Returns:
        Its version.
    """
    content = trained.forest.content
    if content is None:
        raise ValueError("what was read from the store is there already")
    parameters = {
        **PARAMETERS,
        "library": library(),
        "typical": trained.forest.typical.tolist(),
        "level": trained.forest.level,
        "scale": trained.forest.scale,
    }
    version = 1 + (connection.scalar(select(func.max(models.c.version)).where(models.c.host_id == host_id)) or 0)
    if trained.accepted:
        _take_out(connection, host_id, State.REPLACED, f"replaced by version {version}")
    connection.execute(
        insert(models).values(
            host_id=host_id,
            version=version,
            trained_at=trained.trained_at,
            trained_from=trained.trained_from,
            trained_until=trained.trained_until,
            rows=trained.rows,
            features=list(FEATURES),
            parameters=parameters,
            figures=dict(trained.figures),
            digest=digest(content, FEATURES, parameters),
            content=content,
            state=State.IN_FORCE if trained.accepted else State.REFUSED,
            reason=trained.reason,
        )
    )
    others = (models.c.host_id == host_id, models.c.state != State.IN_FORCE)
    kept = select(models.c.version).where(*others).order_by(models.c.version.desc()).limit(_KEPT_VERSIONS)
    oldest = min(connection.scalars(kept), default=0)
    connection.execute(delete(models).where(*others, models.c.version < oldest))
    return version


def put_in_force(connection: Connection, host_id: int, version: int, reason: str) -> None:
    """Has a stored version take the place of the one in force, whatever became of it before."""
    _take_out(connection, host_id, State.ROLLED_BACK, reason)
    connection.execute(
        update(models)
        .where(models.c.host_id == host_id, models.c.version == version)
        .values(state=State.IN_FORCE, reason=reason)
    )


def _take_out(connection: Connection, host_id: int, state: State, reason: str) -> None:
    connection.execute(
        update(models)
        .where(models.c.host_id == host_id, models.c.state == State.IN_FORCE)
        .values(state=state, reason=reason)
    )


def load(connection: Connection, host_id: int, model: ModelVersion, estimators: Estimators = HERE) -> Forest:
    """The forest of a stored version.

    Raises:
        EstimatorsError: the process that was to read it did not; nothing is wrong with the forest.
        ModelError: it was trained on other features or by another scikit-learn, was changed since it was stored, or
            holds anything but a forest.
    """
    name = f"model {model.version} of host number {host_id}"
    if model.features != FEATURES:
        raise ModelError(f"{name} was trained on other features than this version of detector has", hint=_HINT)
    if model.parameters.get("library") != library():
        raise ModelError(f"{name} was not trained by scikit-learn {library()}, which is installed", hint=_HINT)
    if "scale" not in model.parameters:
        raise ModelError(f"{name} was trained by an older version of detector, in another way", hint=_HINT)
    content = bytes(
        connection.scalars(
            select(models.c.content).where(models.c.host_id == host_id, models.c.version == model.version)
        ).one()
    )
    if digest(content, model.features, model.parameters) != model.digest:
        raise ModelError(f"{name} was changed since it was stored", hint=_HINT)
    try:
        trees = estimators.read(content)
        typical = np.array(model.parameters["typical"], dtype=np.float32)
        forest = Forest(
            content=None,
            typical=typical,
            level=float(model.parameters["level"]),
            trees=trees,
            scale=float(model.parameters["scale"]),
        )
        if not _is_unit(forest.scale):
            raise ValueError("it measures in no unit")
        if not np.isfinite(isolation_forest.anomaly(forest, typical[np.newaxis])).all():
            raise ValueError("it does not say what is usual")
    except (TypeError, ValueError, LookupError) as fault:
        reason = visible((str(fault).splitlines() or [type(fault).__name__])[0], 300)
        raise ModelError(f"{name} cannot be loaded: {reason}", hint=_HINT) from fault
    return forest


def set_aside(connection: Connection, host_id: int, model: ModelVersion, fault: ModelError) -> None:
    """Records why a version cannot be used; it is not tried again."""
    connection.execute(
        update(models)
        .where(models.c.host_id == host_id, models.c.version == model.version)
        .values(state=State.FAULTY, reason=fault.message)
    )


def _described(row: Mapping[Any, Any]) -> ModelVersion:
    values = dict(row)
    values |= {"features": tuple(row["features"]), "digest": bytes(row["digest"]), "state": State(row["state"])}
    return ModelVersion(**values)


def digest(content: bytes, features: tuple[str, ...], parameters: Mapping[str, Any]) -> bytes:
    """16 bytes that stand for a stored forest: BLAKE2b over its content, features and parameters."""
    state = blake2b(json.dumps([features, parameters], sort_keys=True).encode(), digest_size=16)
    state.update(content)
    return state.digest()
