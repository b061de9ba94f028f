"""Forests kept in the store."""

from __future__ import annotations

import functools
import gc
import logging
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from skops import io
from sqlalchemy import select, update

from detector.errors import ModelError
from detector.models import isolation_forest, registry
from detector.models.estimators import TRUSTED_TYPES
from detector.models.features import FEATURES
from detector.models.registry import State
from detector.store import snapshots
from detector.store.engine import reading, writing
from detector.store.tables import models
from tests.builders import START, count
from tests.models.conftest import Watched, trained, usual

if TYPE_CHECKING:
    import numpy.typing as npt
    from sqlalchemy import Engine


def _rows(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(400, len(FEATURES))).astype(np.float32)


def _stored(engine: Engine, forest: isolation_forest.Forest, *, accepted: bool = True, host: str = "bastion-1") -> int:
    with writing(engine) as connection:
        host_id = snapshots.host_number(connection, host, START)
        registry.store(connection, host_id, trained(forest, accepted=accepted))
    return host_id


def _load(engine: Engine, host_id: int) -> isolation_forest.Forest:
    with reading(engine) as connection:
        model = registry.in_force(connection, host_id)
        assert model is not None
        return registry.load(connection, host_id, model)


def _plant(engine: Engine, host_id: int, thing: Any) -> None:
    """Replaces the newest model's content, with a digest to match: whoever can write the store can do that."""
    content = io.dumps(thing, compression=ZIP_DEFLATED)
    with writing(engine) as connection:
        model = registry.in_force(connection, host_id)
        assert model is not None
        digest = registry.digest(content, model.features, model.parameters)
        connection.execute(
            update(models)
            .where(models.c.host_id == host_id, models.c.version == model.version)
            .values(content=content, digest=digest)
        )


def test_a_forest_comes_back_the_same(engine: Engine) -> None:
    """A stored and loaded forest scores exactly as before, and its version says what it was trained with."""
    forest = isolation_forest.train(_rows())
    host_id = _stored(engine, forest)
    loaded = _load(engine, host_id)
    assert isolation_forest.anomaly(loaded, _rows(1)).tolist() == isolation_forest.anomaly(forest, _rows(1)).tolist()
    assert loaded.typical.tolist() == forest.typical.tolist()
    with reading(engine) as connection:
        (version,) = registry.versions(connection, host_id)
    assert (version.version, version.trained_at, version.rows) == (1, START, 400)
    assert (version.state, version.reason) == (State.IN_FORCE, "as the test wants it")
    assert version.figures == {"held_back": 80, "separated": 0.75, "beyond": 0.01, "in_force": None}
    assert version.features == FEATURES
    assert version.parameters["contamination"] == "auto"


def test_five_versions_are_kept_beside_the_one_in_force(sqlite_engine: Engine) -> None:
    """However old the one in force is, and however many were refused after it."""
    forest = isolation_forest.train(_rows())
    for accepted in (True, True, True, False, False, False, False):
        host_id = _stored(sqlite_engine, forest, accepted=accepted)
    with reading(sqlite_engine) as connection:
        found = [(each.version, each.state.value) for each in registry.versions(connection, host_id)]
        in_force = registry.in_force(connection, host_id)
    assert found == [(7, "refused"), (6, "refused"), (5, "refused"), (4, "refused"), (3, "in_force"), (2, "replaced")]
    assert in_force is not None
    assert in_force.version == 3


def test_a_refused_forest_changes_nothing(sqlite_engine: Engine) -> None:
    """It is kept, with the reason, and the one in force stays."""
    forest = isolation_forest.train(_rows())
    host_id = _stored(sqlite_engine, forest)
    _stored(sqlite_engine, forest, accepted=False)
    with reading(sqlite_engine) as connection:
        refused, first = registry.versions(connection, host_id)
    assert (refused.state, refused.reason) == (State.REFUSED, "as the test wants it")
    assert first.state is State.IN_FORCE


def test_an_earlier_version_is_put_in_force(engine: Engine) -> None:
    """One is in force at any time, and of the other it is said what became of it."""
    for seed in range(3):
        host_id = _stored(engine, isolation_forest.train(_rows(seed)))
    other = _stored(engine, isolation_forest.train(_rows()), host="bastion-2")
    with writing(engine) as connection:
        registry.put_in_force(connection, host_id, 1, "rolled back to version 1")
    with reading(engine) as connection:
        found = [(each.version, each.state.value, each.reason) for each in registry.versions(connection, host_id)]
        untouched = registry.in_force(connection, other)
    assert found == [
        (3, "rolled_back", "rolled back to version 1"),
        (2, "replaced", "replaced by version 3"),
        (1, "in_force", "rolled back to version 1"),
    ]
    assert untouched is not None


def test_a_worker_holds_no_forest_that_is_not_in_force(quiet: Watched) -> None:
    """However many forests a host had since a worker began, it has one of them in memory."""

    def held() -> int:
        gc.collect()
        return sum(isinstance(each, isolation_forest.Forest) for each in gc.get_objects())

    quiet.snapshot(*usual(1))
    first = held()
    for seed in range(3):
        _stored(quiet.engine, isolation_forest.train(_rows(seed)))
        quiet.snapshot(*usual(1))
    assert held() == first


def test_other_types_are_refused(sqlite_engine: Engine) -> None:
    """Content that would make anything but the named types is refused before it is made."""
    host_id = _stored(sqlite_engine, isolation_forest.train(_rows()))
    _plant(sqlite_engine, host_id, functools.partial(print, "made"))
    with pytest.raises(ModelError, match="cannot be loaded: Untrusted types"):
        _load(sqlite_engine, host_id)


@pytest.mark.parametrize("thing", [{"a": 1}, [1.0], np.zeros(3)])
def test_what_is_no_forest_is_refused(sqlite_engine: Engine, thing: Any) -> None:
    """Content of harmless types that is no forest is refused."""
    host_id = _stored(sqlite_engine, isolation_forest.train(_rows()))
    _plant(sqlite_engine, host_id, thing)
    with pytest.raises(ModelError, match="not an isolation forest"):
        _load(sqlite_engine, host_id)


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**9), ("right_child", 0), ("feature", 10**6), ("left_child", -5)]
)
def test_trees_that_lead_nowhere_are_refused(sqlite_engine: Engine, field: str, value: int) -> None:
    """A tree whose nodes point outside of it, or in a circle, is refused: following it would read foreign memory."""
    forest = isolation_forest.train(_rows())
    assert forest.content is not None
    estimator = io.loads(forest.content, trusted=TRUSTED_TYPES)
    tree = estimator.estimators_[7].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    host_id = _stored(sqlite_engine, forest)
    _plant(sqlite_engine, host_id, estimator)
    with pytest.raises(ModelError, match="not an isolation forest"):
        _load(sqlite_engine, host_id)


def test_a_forest_of_another_shape_is_refused(sqlite_engine: Engine) -> None:
    """A forest with other features or fewer trees than trained here is refused."""
    forest = isolation_forest.train(_rows())
    narrow = IsolationForest(n_estimators=100, random_state=0).fit(_rows()[:, :3])
    small = IsolationForest(n_estimators=5, random_state=0).fit(_rows())
    host_id = _stored(sqlite_engine, forest)
    for other in (narrow, small):
        _plant(sqlite_engine, host_id, other)
        with pytest.raises(ModelError, match="not an isolation forest"):
            _load(sqlite_engine, host_id)
    with writing(sqlite_engine) as connection:
        connection.execute(update(models).values(features=["port"]))
    with pytest.raises(ModelError, match="trained on other features"):
        _load(sqlite_engine, host_id)


def test_damaged_content_is_refused(engine: Engine) -> None:
    """Content that was changed after it was stored is refused without looking into it."""
    host_id = _stored(engine, isolation_forest.train(_rows()))
    with writing(engine) as connection:
        content = bytes(connection.scalars(select(models.c.content)).one())
        connection.execute(update(models).values(content=content[:-100] + bytes(100)))
    with pytest.raises(ModelError, match="was changed since it was stored"):
        _load(engine, host_id)


def test_a_forest_of_another_library_version_is_refused(sqlite_engine: Engine) -> None:
    """A forest that another scikit-learn trained is not trusted to mean the same."""
    host_id = _stored(sqlite_engine, isolation_forest.train(_rows()))
    with writing(sqlite_engine) as connection:
        (version,) = registry.versions(connection, host_id)
        connection.execute(update(models).values(parameters={**version.parameters, "library": "0.24"}))
    with pytest.raises(ModelError, match="was not trained by scikit-learn"):
        _load(sqlite_engine, host_id)


def test_detection_goes_on_without_a_refused_forest_and_says_so(
    quiet: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """A tampered forest is left out of scoring; the fault is logged, kept with the version, and mended."""
    with writing(quiet.engine) as connection:
        connection.execute(update(models).values(content=b"PK\x03\x04 not what was stored"))
    with caplog.at_level(logging.ERROR):
        observed = quiet.snapshot(*usual(), count("10.0.9.7", 22))
    assert [each.p_forest for each in observed] == [None] * len(observed)
    assert max(each.score or 0 for each in observed) > 0.99
    assert "was changed since it was stored" in caplog.text
    with reading(quiet.engine) as connection:
        mended, faulty = registry.versions(connection, 1)
    assert faulty.state is State.FAULTY
    assert faulty.reason is not None
    assert "was changed since it was stored" in faulty.reason
    assert mended.state is State.IN_FORCE
    assert all(each.p_forest is not None for each in quiet.snapshot(*usual()))
