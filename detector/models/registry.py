"""Keeps trained forests in the store: versions, what they were trained with, and whether they can be used.

A stored forest is data from outside. It is loaded by skops, which makes only the types named here, and its trees are
checked before they are used: scikit-learn follows their node numbers without checking bounds.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, BadZipFile

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from detector.errors import ModelError
from detector.models import isolation_forest
from detector.models.features import FEATURES
from detector.models.isolation_forest import PARAMETERS, Forest
from detector.store.tables import hosts, models
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sklearn.ensemble import IsolationForest

TRUSTED_TYPES = ("sklearn.tree._tree.Tree",)
"""What skops may make beyond its own list of scikit-learn's public estimators and numpy's arrays."""

_KEPT_VERSIONS = 3
_NO_FOREST = "it is not an isolation forest over these features"
_HINT = "nothing to do: a new one is trained from the stored sample; if it happens again, look at who writes the store"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A stored forest, without its content."""

    version: int
    trained_at: datetime
    rows: int
    """Rows of the training sample."""
    features: tuple[str, ...]
    parameters: Mapping[str, Any]
    digest: bytes
    fault: str | None
    """Why it was refused; None when it was not."""


_DESCRIBED = [models.c[name] for name in ("version", "trained_at", "rows", "features", "parameters", "digest", "fault")]


def versions(connection: Connection, host_id: int) -> list[ModelVersion]:
    """The stored forests of a host, newest first; the first is the one in force unless it has a fault."""
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


def newest(connection: Connection, host_id: int) -> ModelVersion | None:
    """The newest forest of a host; None when none was trained."""
    row = (
        connection.execute(
            select(*_DESCRIBED).where(models.c.host_id == host_id).order_by(models.c.version.desc()).limit(1)
        )
        .mappings()
        .first()
    )
    return None if row is None else _described(row)


def store(connection: Connection, host_id: int, forest: Forest, *, trained_at: datetime, rows: int) -> None:
    """Puts a forest in force as the host's newest version; the oldest beyond three are dropped."""
    import sklearn
    from skops import io

    content = io.dumps(forest.estimator, compression=ZIP_DEFLATED, compresslevel=1)
    parameters = {**PARAMETERS, "library": sklearn.__version__, "typical": forest.typical.tolist()}
    version = 1 + (connection.scalar(select(func.max(models.c.version)).where(models.c.host_id == host_id)) or 0)
    connection.execute(
        insert(models).values(
            host_id=host_id,
            version=version,
            trained_at=trained_at,
            rows=rows,
            features=list(FEATURES),
            parameters=parameters,
            digest=digest(content, FEATURES, parameters),
            content=content,
        )
    )
    connection.execute(delete(models).where(models.c.host_id == host_id, models.c.version <= version - _KEPT_VERSIONS))


def load(connection: Connection, host_id: int, model: ModelVersion) -> Forest:
    """The forest of a stored version.

    Raises:
        ModelError: it was trained on other features or by another scikit-learn, was changed since it was stored, or
            holds anything but a forest.
    """
    import sklearn.ensemble
    from skops import io

    name = f"model {model.version} of host number {host_id}"
    if model.features != FEATURES:
        raise ModelError(f"{name} was trained on other features than this version of detector has", hint=_HINT)
    if model.parameters.get("library") != sklearn.__version__:
        raise ModelError(
            f"{name} was not trained by scikit-learn {sklearn.__version__}, which is installed", hint=_HINT
        )
    content = bytes(
        connection.scalars(
            select(models.c.content).where(models.c.host_id == host_id, models.c.version == model.version)
        ).one()
    )
    if digest(content, model.features, model.parameters) != model.digest:
        raise ModelError(f"{name} was changed since it was stored", hint=_HINT)
    try:
        estimator = io.loads(content, trusted=TRUSTED_TYPES)
        typical = np.array(model.parameters["typical"], dtype=np.float32)
        if not isinstance(estimator, sklearn.ensemble.IsolationForest) or not _sound_trees(estimator):
            raise ValueError(_NO_FOREST)
        forest = Forest(estimator=None, typical=typical, trees=isolation_forest.trees_of(estimator))
        if not np.isfinite(isolation_forest.anomaly(forest, typical[np.newaxis])).all():
            raise ValueError(_NO_FOREST)
    # What skops, zipfile and scikit-learn raise on content that is damaged, crafted or of untrusted types.
    except (TypeError, ValueError, LookupError, AttributeError, EOFError, BadZipFile, zlib.error, ImportError) as fault:
        reason = visible((str(fault).splitlines() or [type(fault).__name__])[0], 300)
        raise ModelError(f"{name} cannot be loaded: {reason}", hint=_HINT) from fault
    return forest


def refuse(connection: Connection, host_id: int, model: ModelVersion, fault: ModelError) -> None:
    """Records why a version is not used; it is not tried again."""
    connection.execute(
        update(models).where(models.c.host_id == host_id, models.c.version == model.version).values(fault=fault.message)
    )


def _described(row: Mapping[Any, Any]) -> ModelVersion:
    values = dict(row)
    return ModelVersion(**values | {"features": tuple(values["features"]), "digest": bytes(values["digest"])})


def digest(content: bytes, features: tuple[str, ...], parameters: Mapping[str, Any]) -> bytes:
    """16 bytes that stand for a stored forest: BLAKE2b over its content, features and parameters."""
    state = blake2b(json.dumps([features, parameters], sort_keys=True).encode(), digest_size=16)
    state.update(content)
    return state.digest()


def _sound_trees(estimator: IsolationForest) -> bool:
    if estimator.n_features_in_ != len(FEATURES) or len(estimator.estimators_) != PARAMETERS["n_estimators"]:
        return False
    return all(_sound(each.tree_) for each in estimator.estimators_)


def _sound(tree: Any) -> bool:
    # Children come after their parent, so that no path is endless, and exist; leaves have none.
    if not 0 < tree.node_count <= tree.capacity:
        return False
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    own = np.arange(tree.node_count)
    return bool(
        tree.n_features == len(FEATURES)
        and np.all(right[~inner] == -1)
        and np.all((feature[inner] >= 0) & (feature[inner] < len(FEATURES)))
        and all(np.all((child[inner] > own[inner]) & (child[inner] < tree.node_count)) for child in (left, right))
    )
