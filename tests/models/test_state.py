"""What is learnt comes back as it was, from either database and through migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import text

from detector.models.layout import LAYOUT, SUBJECT
from detector.models.state import Subjects
from detector.store.engine import reading, writing
from detector.store.migrating import downgrade, upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine


def _filled(engine: Engine) -> dict[str, dict[str, float]]:
    """Writes one subject of each kind, with all that the kind has."""
    kinds = (*LAYOUT, "network")
    with writing(engine) as connection:
        subjects = Subjects(connection, 1)
        numbers = [subjects.number(kind, True, "x") for kind in kinds]
        subjects.load()
        names = ("first_seconds", "hours", "last_hour")
        for kind, number in zip(kinds, numbers, strict=True):
            for place, name in enumerate((*names, *LAYOUT.get(kind, ()))):
                subjects.values[name][number] = number + place + 1
        expected = {
            kind: {name: float(subjects.values[name][number]) for name in SUBJECT.names or ()}
            for kind, number in zip(kinds, numbers, strict=True)
        }
        subjects.save()
    return expected


def _read(engine: Engine, kinds: Sequence[str] = (*LAYOUT, "network")) -> dict[str, dict[str, float]]:
    with reading(engine) as connection:
        subjects = Subjects(connection, 1)
        numbers = [subjects.number(kind, True, "x") for kind in kinds]
        subjects.load()
        assert subjects.known.all()
        return {
            kind: {name: float(subjects.values[name][number]) for name in SUBJECT.names or ()}
            for kind, number in zip(kinds, numbers, strict=True)
        }


def test_a_state_comes_back(engine: Engine) -> None:
    """Each kind of subject keeps all that it has."""
    assert _filled(engine) == _read(engine)


def test_what_was_learnt_survives_the_migration(engine: Engine) -> None:
    """Down and up again, what the older schema has a column for is kept; the rest begins anew."""
    expected = _filled(engine)
    downgrade(engine, "0017")
    with reading(engine) as connection:
        pair = connection.execute(text("SELECT * FROM model_subjects WHERE kind = 'pair'")).mappings().one()
        assert pair["mean"] == expected["pair"]["mean"]
        assert pair["last_hour"] == expected["pair"]["last_hour"]
    upgrade(engine)
    read = _read(engine, ("pair", "destination", "host"))
    for kind in ("pair", "destination", "host"):
        for name in (
            "first_seconds",
            "hours",
            "last_hour",
            "surprise",
            "surprise_seconds",
            "weight",
            "mean",
            "hour_mean",
            "recent",
        ):
            assert read[kind][name] == expected[kind][name], (kind, name)
    assert read["pair"]["last_seconds"] == expected["pair"]["recent_seconds"]


def test_what_is_unchanged_is_not_written(engine: Engine) -> None:
    """Saving what was only read does nothing."""
    _filled(engine)
    with writing(engine) as connection:
        subjects = Subjects(connection, 1)
        number = subjects.number("pair", True, "x")
        subjects.load()
        connection.execute(text("DELETE FROM model_blocks"))
        subjects.save()
        assert connection.scalar(text("SELECT count(*) FROM model_blocks")) == 0
        subjects.touch(np.array([number]), hour=10**6, now_seconds=5.0)
        subjects.save()
        assert connection.scalar(text("SELECT count(*) FROM model_blocks")) == 1
