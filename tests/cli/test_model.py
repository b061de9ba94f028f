"""`detector model`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector.models import isolation_forest, registry
from detector.models.features import FEATURES
from detector.store import snapshots
from detector.store.engine import writing
from tests.builders import START

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.cli.conftest import Call


@pytest.fixture
def two_forests(engine: Engine) -> Engine:
    """A host with two forests."""
    rows = np.random.default_rng(0).normal(size=(400, len(FEATURES))).astype(np.float32)
    with writing(engine) as connection:
        host_id = snapshots.host_number(connection, "bastion-1", START)
        for _ in range(2):
            registry.store(connection, host_id, isolation_forest.train(rows), trained_at=START, rows=len(rows))
    return engine


@pytest.mark.usefixtures("zone", "two_forests")
def test_forests_are_listed_the_newest_last(call: Call) -> None:
    """Each with when it was trained, on how much, and whether it is in force."""
    result = call("model", "list")

    assert result.code == 0
    assert result.lines == [
        "host       version  trained (+01:00)     rows  state",
        "bastion-1        1  2026-03-02 10:00:00   400  kept",
        "bastion-1        2  2026-03-02 10:00:00   400  in force",
    ]


@pytest.mark.usefixtures("two_forests")
def test_forests_as_json(call: Call) -> None:
    """A list of objects with all fields, of one host where that is asked for."""
    first, second = json.loads(call("model", "list", "--json").out)

    assert (first["host"], first["version"], first["in_force"]) == ("bastion-1", 1, False)
    assert (second["version"], second["in_force"], second["trained_at"]) == (2, True, "2026-03-02T09:00:00Z")
    assert second["features"] == list(FEATURES)
    assert second["parameters"]["contamination"] == "auto"
    assert json.loads(call("model", "list", "--json", "--host", "bastion-2").out) == []


@pytest.mark.usefixtures("store")
def test_without_a_forest_it_is_said_when_one_comes(call: Call) -> None:
    """Nothing on standard output."""
    result = call("model", "list")

    assert (result.code, result.out) == (0, "")
    assert result.err == "no forest was trained yet: the first comes when a host's burn-in is over\n"
