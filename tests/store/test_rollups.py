"""Snapshots are added up by hour and by day, each once."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from detector.store import rollups
from detector.store.cursors import create_cursors
from detector.store.engine import reading, writing
from detector.store.tables import connection_keys, daily_counts, detection_cursors, hourly_counts, packed_counts
from tests.builders import START, Recorder, count, every_row, observe
from tests.examples import examples

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine, Table

    from detector.domain import SnapshotRef

_SUMMED = ("attempted", "established", "refused", "timed_out", "failed", "handshake_us_total")


def _seen(engine: Engine, ref: SnapshotRef) -> None:
    """Says that detection has been there."""
    with writing(engine) as connection:
        create_cursors(connection)
        cursor = detection_cursors.c
        connection.execute(update(detection_cursors).where(cursor.host_id == ref.host_id).values(seq=ref.seq))


def _roll(engine: Engine, now: datetime) -> int:
    """Adds all that is due; returns how many snapshots that were."""
    done = 0
    while True:
        rolled = rollups.advance(engine, 1, now=now)
        done += rolled.snapshots
        if not rolled.more:
            return done


def _rows(engine: Engine, table: Table) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]


def test_an_hour_is_added_up_when_it_is_over(engine: Engine) -> None:
    """Not before: what is under way is in the snapshots alone. The present hour is that of the newest snapshot."""
    recorder = Recorder(engine, interval=timedelta(minutes=20))
    refs = [recorder.snapshot(count(attempted=2, refused=1), count(port=80)) for _ in range(4)]
    _seen(engine, refs[2])
    assert _roll(engine, START + timedelta(minutes=60)) == 0

    _seen(engine, refs[3])
    assert _roll(engine, START + timedelta(minutes=80)) == 3
    assert _roll(engine, START + timedelta(minutes=80)) == 0

    hours = _rows(engine, hourly_counts)
    assert [(row["key_id"], row["snapshots"], row["attempted"], row["refused"]) for row in hours] == [
        (1, 3, 6, 3),
        (2, 3, 3, 0),
    ]
    assert {(row["start"], row["first_seen"], row["last_seen"]) for row in hours} == {(START, START, refs[2].end)}
    (day, _) = _rows(engine, daily_counts)
    assert (day["start"], day["attempted"]) == (START.replace(hour=0), 6)
    with reading(engine) as connection:
        assert set(connection.scalars(select(connection_keys.c.last_seen))) == {refs[2].end}


def test_a_host_that_fell_silent_is_added_up_too(engine: Engine) -> None:
    """Its last hour is over when the clock says so; an imported log of years ago is at once."""
    ref = Recorder(engine).snapshot(count())
    _seen(engine, ref)
    assert _roll(engine, START + timedelta(hours=1)) == 0
    assert _roll(engine, START + timedelta(hours=2)) == 1


@pytest.mark.parametrize("step", [timedelta(days=365), -timedelta(days=2)])
def test_a_clock_that_was_wrong_for_a_while_holds_up_nothing(engine: Engine, step: timedelta) -> None:
    """One snapshot is of a year ahead, or of two days before: it and those around it are added up all the same."""
    recorder = Recorder(engine, interval=timedelta(minutes=10))
    for number in range(12):
        if number == 4:
            recorder.now += step
        if number == 5:
            recorder.now -= step
        _seen(engine, recorder.snapshot(count()))
    done = _roll(engine, recorder.now)
    assert done == 6 + (step > timedelta(0)) * 0
    assert _roll(engine, recorder.now + timedelta(hours=2)) == 12 - done
    assert sum(row["snapshots"] for row in _rows(engine, hourly_counts)) == 12


def test_the_highest_score_is_kept(engine: Engine) -> None:
    """Of snapshots without scores there is none."""
    recorder = Recorder(engine, interval=timedelta(minutes=30))
    for score in (None, 0.5, 0.9, 0.2):
        ref = recorder.snapshot(count(), count(port=80))
        if score is not None:
            observe(engine, ref, {1: {"score": score}})
    _seen(engine, recorder.snapshot())
    _roll(engine, START + timedelta(hours=5))

    peaks = [(row["key_id"], row["start"], row["peak_score"]) for row in _rows(engine, hourly_counts)]
    later = START + timedelta(hours=1)
    assert peaks == [
        (1, START, pytest.approx(0.5)), (1, later, pytest.approx(0.9)), (2, START, None), (2, later, None),
    ]  # fmt: skip
    assert [row["peak_score"] for row in _rows(engine, daily_counts)] == [pytest.approx(0.9), None]


def test_a_snapshot_that_is_damaged_holds_up_nothing(sqlite_engine: Engine) -> None:
    """Those beside it are added up; detection has counted it as lost."""
    recorder = Recorder(sqlite_engine, interval=timedelta(minutes=20))
    refs = [recorder.snapshot(count()) for _ in range(4)]
    with writing(sqlite_engine) as connection:
        connection.execute(update(packed_counts).where(packed_counts.c.seq == 2).values(content=b"damaged"))
    _seen(sqlite_engine, refs[3])

    assert _roll(sqlite_engine, START + timedelta(hours=1)) == 3
    assert [row["snapshots"] for row in _rows(sqlite_engine, hourly_counts)] == [2]


_snapshot = st.tuples(
    st.integers(-7200, 7200),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(0, 900), st.sampled_from([None, "a.example"])),
        unique_by=lambda row: row[0],
        max_size=3,
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(25))
@given(st.lists(_snapshot, min_size=1, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_sums_are_those_of_the_snapshots(
    sqlite_engine: Engine, history: list[tuple[int, list[Any]]], stops: list[int]
) -> None:
    """Whatever the clock does, and however often detection stops in between, every row is in one hour and one day."""
    for table in (hourly_counts, daily_counts, packed_counts, detection_cursors):
        with writing(sqlite_engine) as connection:
            connection.execute(table.delete())
    recorder = Recorder(sqlite_engine, unpacked=False)
    starts: dict[int, datetime] = {}
    for number, (step, rows) in enumerate(history):
        # A clock that was set, forward or back.
        recorder.now = max(START, recorder.now + timedelta(seconds=step))
        start = recorder.now
        ref = recorder.snapshot(
            *(
                count(
                    port=port, attempted=tried, handshake_us_max=longest, handshake_us_total=longest, remote_name=name
                )
                for port, tried, longest, name in rows
            )
        )
        starts[ref.seq] = start
        _seen(sqlite_engine, ref)
        if number in stops:
            _roll(sqlite_engine, recorder.now)
    _roll(sqlite_engine, recorder.now + timedelta(days=10))

    packed = every_row(sqlite_engine)
    for table, length in ((hourly_counts, rollups.HOUR), (daily_counts, rollups.DAY)):
        expected: dict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys((*_SUMMED, "snapshots"), 0))
        longest: dict[tuple[Any, ...], int] = defaultdict(int)
        for row in packed:
            key = (row["key_id"], rollups.floor(starts[row["seq"]], length), row["origin_id"] or 0, row["name_id"] or 0)
            for name in _SUMMED:
                expected[key][name] += row[name]
            expected[key]["snapshots"] += 1
            longest[key] = max(longest[key], row["handshake_us_max"])
        found = {
            (row["key_id"], row["start"], row["origin_id"], row["name_id"]): row for row in _rows(sqlite_engine, table)
        }
        assert {key: {name: row[name] for name in (*_SUMMED, "snapshots")} for key, row in found.items()} == expected
        assert {key: row["handshake_us_max"] for key, row in found.items()} == longest
