"""What is found of days that have lost some of their hours, and of snapshots that belong to no hour yet."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, update

from detector.store import rollups
from detector.store.engine import reading, writing
from detector.store.filters import HistoryFilter
from detector.store.grouping import grouped
from detector.store.history import find
from detector.store.tables import (
    daily_counts,
    detection_cursors,
    hourly_counts,
    packed_counts,
    packed_observations,
    snapshots,
)
from tests.builders import START, Recorder, count

if TYPE_CHECKING:
    from sqlalchemy import Engine

_HOUR = timedelta(hours=1)


def _find(engine: Engine, **wanted: Any) -> list[tuple[str, int]]:
    with reading(engine) as connection:
        rows = find(connection, HistoryFilter(**wanted), 100).rows
    return [(row["resolution"], row["snapshots"]) for row in rows]


@pytest.fixture
def days(engine: Engine) -> Engine:
    """Two days of a snapshot each half hour, rolled up; the snapshots have expired."""
    recorder = Recorder(engine, interval=_HOUR / 2, now=START.replace(hour=0))
    for _ in range(96):
        ref = recorder.snapshot(count())
    with writing(engine) as connection:
        from detector.store.cursors import create_cursors

        create_cursors(connection)
        connection.execute(update(detection_cursors).values(seq=ref.seq))
    while rollups.advance(engine, ref.host_id, now=START + timedelta(days=9)).more:
        pass
    with writing(engine) as connection:
        for table in (packed_counts, packed_observations, snapshots):
            connection.execute(delete(table))
    return engine


def test_a_day_that_has_lost_hours_is_told_as_a_day(days: Engine) -> None:
    """Its other hours are part of it, and not told twice."""
    with writing(days) as connection:
        connection.execute(delete(hourly_counts).where(hourly_counts.c.start < START.replace(hour=7)))

    assert _find(days) == [("day", 48)] + [("hour", 2)] * 24
    with reading(days) as connection:
        (group,) = grouped(connection, HistoryFilter(since=START.replace(hour=8)), ["user"]).groups
    # All of the first day, since nobody knows any more what of it was later.
    assert group.as_row()["attempted"] == 96


def test_without_hours_there_are_days(days: Engine) -> None:
    """As long as they are kept."""
    with writing(days) as connection:
        connection.execute(delete(hourly_counts))

    assert _find(days) == [("day", 48), ("day", 48)]
    assert _find(days, until=START.replace(hour=0)) == []
    assert _find(days, since=START + timedelta(days=5)) == []
    with writing(days) as connection:
        connection.execute(delete(daily_counts))
    assert _find(days) == []


def test_a_snapshot_longer_than_an_hour_is_found_by_its_end(engine: Engine) -> None:
    """It belongs to the hour that it began in, and to the period that it ended in."""
    recorder = Recorder(engine, interval=5 * _HOUR)
    refs = [recorder.snapshot(count()) for _ in range(3)]
    with writing(engine) as connection:
        from detector.store.cursors import create_cursors

        create_cursors(connection)
        connection.execute(update(detection_cursors).values(seq=3))
    rollups.advance(engine, 1, now=START + timedelta(days=9))

    assert _find(engine, since=refs[1].end - _HOUR) == [("snapshot", 1)] * 2
    assert _find(engine, since=refs[1].end - _HOUR, until=refs[1].end) == [("snapshot", 1)]
    assert _find(engine, since=refs[1].start, until=refs[1].end - _HOUR) == []
    with reading(engine) as connection:
        (group,) = grouped(connection, HistoryFilter(since=refs[1].end - _HOUR, until=refs[1].end), ["user"]).groups
    assert group.as_row()["attempted"] == 1
