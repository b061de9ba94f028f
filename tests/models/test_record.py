"""What a channel says is held against what its hours held."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from detector.config import Models
from detector.domain import Learning
from detector.models.calibration import Calibration
from detector.models.channels import CHANNELS, MEMBERS, RECORDED_HOURS, RECORDS
from detector.models.judgement import Moment
from detector.models.record import KEPT_HOURS, LEVELS, Record
from detector.store.engine import reading, writing
from detector.store.tables import model_records
from tests.builders import count
from tests.models.conftest import Watched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

_hours = st.lists(st.floats(0, 20), max_size=KEPT_HOURS)
_surprises = st.lists(st.floats(0, 30), min_size=1, max_size=20)


def test_without_hours_a_channel_is_taken_at_its_word() -> None:
    """Nothing tells otherwise."""
    said = np.array([0.0, 0.3, 1.4, 9.0])
    assert Record().corrected(said).tolist() == said.tolist()


@given(_hours, _surprises)
def test_the_order_of_rows_stays_the_channels_own(hours: list[float], said: list[float]) -> None:
    """Whatever its record: more is more, nothing stays nothing, and none is moved by more than ten times."""
    ordered = np.array(sorted({round(each, 6) for each in said}))
    corrected = Record.of(hours).corrected(ordered)
    assert (np.diff(corrected) > 0).all() or len(ordered) == 1
    assert (np.abs(corrected - ordered) <= 1.0 + 1e-9).all()
    assert (corrected >= 0).all()
    assert corrected[ordered == 0].tolist() == [0.0] * int((ordered == 0).sum())


def test_what_is_rarer_than_the_record_can_tell_is_left_alone() -> None:
    """A quiet week says much of one hour in ten, and next to nothing of one in ten thousand."""
    quiet = Record.of([0.0] * KEPT_HOURS)
    ten, ten_thousand = quiet.corrected(np.array([1.0, 4.0]))
    assert ten == pytest.approx(math.log10((KEPT_HOURS + 40) / 4))
    assert ten_thousand < 4.05


@pytest.mark.parametrize("stretched", [0.6, 1.0, 1.5])
def test_each_channel_becomes_as_rare_as_it_says(stretched: float) -> None:
    """One that says too much or too little, within a factor of two from the third day on: of four hours, of ten and of
    24.
    """
    said = np.random.default_rng(3).exponential(stretched / math.log(10), size=24 * 60)
    beyond = dict.fromkeys((4, 10, 24), 0)
    judged = range(48, len(said))
    for hour in judged:
        record = Record.of(said[max(0, hour - KEPT_HOURS) : hour].tolist())
        (corrected,) = record.corrected(said[hour : hour + 1])
        for hours in beyond:
            beyond[hours] += corrected > math.log10(hours)
    for hours, number in beyond.items():
        assert 0.5 < number * hours / len(judged) < 2.0


def test_counts_are_stored_as_they_are() -> None:
    """A week's and those of a day."""
    for number in (KEPT_HOURS, 24, 0):
        record = Record.of(np.linspace(0, 4, number).tolist())
        assert Record.unpack(record.hours, record.pack()) == record
        assert len(record.reached) == len(LEVELS)


def _said(engine: Engine, hour: int, value: float) -> Mapping[str, Record]:
    with writing(engine) as connection:
        calibration = Calibration(connection, 1, (), RECORDED_HOURS)
        calibration.observe({"p_volume": np.array([value]), "p_forest": np.array([value])})
        calibration.close_hour(hour, ["p_volume", "p_forest"], settled=range(0))
        calibration.save()
    with reading(engine) as connection:
        return Calibration(connection, 1, (), RECORDED_HOURS).records


def test_a_record_is_that_of_the_last_hours(engine: Engine) -> None:
    """Of a week up to the one that has just ended; of two days for the forest, which is another one each day."""
    assert _said(engine, 30, 1.5)["p_volume"] == Record.of([1.5])
    assert _said(engine, 31, 0.2)["p_volume"] == Record.of([1.5, 0.2])
    for hour in range(32, 32 + 47):
        found = _said(engine, hour, 0.4)
    assert found["p_forest"] == Record.of([0.2] + [0.4] * 47)
    assert found["p_volume"] == Record.of([1.5, 0.2] + [0.4] * 47)
    for hour in range(32 + 47, 32 + KEPT_HOURS):
        found = _said(engine, hour, 0.4)
    assert found["p_volume"] == Record.of([0.4] * KEPT_HOURS)
    assert found["p_novelty"] == Record()


def test_burn_in_is_in_no_record() -> None:
    """Everything is new in it; the snapshot that ends it belongs to it."""

    def moment(start_hours: float) -> Moment:
        learning = Learning(elapsed_seconds=start_hours * 3600 + 300, required_seconds=24 * 3600)
        return Moment(start_seconds=start_hours * 3600, duration_seconds=300, learning=learning)

    assert [moment(hours).follows_burn_in for hours in (3, 24 - 1 / 12, 24, 40)] == [False, False, True, True]


def test_what_is_told_of_a_channel_is_as_its_record_has_it(quiet: Watched) -> None:
    """A week whose every hour held as much makes it ten times as usual; surprise and score of the row stay."""
    (before,) = quiet.would_say(count("10.7.7.7", 4444))
    with writing(quiet.engine) as connection:
        connection.execute(delete(model_records).where(model_records.c.channel == "p_novelty"))
        record = Record.of([9.0] * KEPT_HOURS)
        row = {"channel": "p_novelty", "maximum": 0.0, "hours": record.hours, "reached": record.pack()}
        connection.execute(insert(model_records).values(host_id=1, **row))
    (after,) = quiet.would_say(count("10.7.7.7", 4444))
    assert before.p_novelty is not None
    assert after.p_novelty == pytest.approx(10 * before.p_novelty)
    assert replace(after, p_novelty=before.p_novelty) == before


def test_hours_after_burn_in_are_recorded_once_they_are_over(sqlite_engine: Engine) -> None:
    """Of each channel that has anything to go by: there is no forest here."""
    watched = Watched(sqlite_engine, Models(burn_in_hours=2), interval=timedelta(hours=1))
    for hour in range(30):
        watched.snapshot(count(f"10.0.{hour}.5", 22))
    with reading(sqlite_engine) as connection:
        records = Calibration(connection, 1, (), RECORDED_HOURS).records
    # Hours 2 to 29.
    assert {name: record.hours for name, record in records.items() if name != "p_forest"} == dict.fromkeys(
        (name for name in RECORDS.values() if name != "p_forest"), 28
    )
    assert records["p_forest"] == Record()


def test_each_channel_has_a_record_of_its_own() -> None:
    """Under a name that is no member's."""
    assert set(RECORDS) == set(MEMBERS)
    assert not set(RECORDS.values()) & {each.name for each in CHANNELS}
