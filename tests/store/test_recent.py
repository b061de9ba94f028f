"""Rules look at single rows of the last snapshots, which detection unpacks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from detector.store import recent
from detector.store.cursors import create_cursors
from detector.store.engine import reading, writing
from detector.store.packed import read_one
from detector.store.tables import connection_counts, observations, packed_counts, snapshots
from tests.builders import START, AllRows, Recorder, count, observe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from detector.domain import SnapshotRef

_INTERVAL = timedelta(seconds=10)


def _advance(engine: Engine, ref: SnapshotRef, back: timedelta) -> None:
    with writing(engine) as connection:
        create_cursors(connection)
        recent.advance(connection, ref, read_one(connection, ref), AllRows(back))


def _there(engine: Engine, table: object = connection_counts) -> list[int]:
    columns = connection_counts.c if table is connection_counts else observations.c
    with reading(engine) as connection:
        return list(connection.scalars(select(columns.seq).order_by(columns.host_id, columns.seq)))


def test_rows_are_there_as_far_back_as_rules_look(engine: Engine) -> None:
    """What ended before that goes, a snapshot later; those of other hosts stay."""
    recorder = Recorder(engine, unpacked=False)
    other = Recorder(engine, host="other", unpacked=False).snapshot(count())
    _advance(engine, other, _INTERVAL)
    for _ in range(5):
        ref = recorder.snapshot(count())
        _advance(engine, ref, 3 * _INTERVAL)
    assert _there(engine) == [1, 2, 3, 4, 5]


def test_a_rule_that_looks_farther_back_finds_what_it_needs(engine: Engine) -> None:
    """Rules are edited: what had gone is unpacked again, with its scores, as far as it has not expired."""
    recorder = Recorder(engine, unpacked=False)
    for number in range(6):
        ref = recorder.snapshot(count())
        _advance(engine, ref, timedelta(0))
        observe(engine, ref, {1: {"score": 0.5}})
        if number == 1:
            with writing(engine) as connection:
                for table in (packed_counts, snapshots):
                    connection.execute(delete(table).where(table.c.seq == 1))
    assert _there(engine) == [6]

    _advance(engine, recorder.snapshot(count()), timedelta(days=1))

    assert _there(engine) == [2, 3, 4, 5, 6, 7]
    assert _there(engine, observations) == [2, 3, 4, 5, 6]


def test_a_clock_that_was_set_back_brings_rows_back(engine: Engine) -> None:
    """They are within the window again."""
    recorder = Recorder(engine, unpacked=False)
    first = recorder.snapshot(count())
    _advance(engine, first, 3 * _INTERVAL)
    recorder.pass_time(hours=1)
    for _ in range(2):
        _advance(engine, recorder.snapshot(count()), 3 * _INTERVAL)
    assert _there(engine) == [2, 3]

    recorder.now = START + _INTERVAL
    _advance(engine, recorder.snapshot(count()), 3 * _INTERVAL)

    assert _there(engine) == [1, 2, 3, 4]


def test_a_snapshot_without_rows_is_passed_by(engine: Engine) -> None:
    """A quiet host has none; nothing is left of it."""
    recorder = Recorder(engine, unpacked=False)
    for rows in ((count(),), (), (count(),)):
        _advance(engine, recorder.snapshot(*rows), timedelta(minutes=1))
    assert _there(engine) == [1, 3]


def test_a_damaged_snapshot_does_not_hold_up_those_after_it(engine: Engine) -> None:
    """What cannot be read any more is not there for rules that look farther back; all else is."""
    recorder = Recorder(engine, unpacked=False)
    for _ in range(4):
        ref = recorder.snapshot(count())
        _advance(engine, ref, timedelta(0))
    with writing(engine) as connection:
        connection.execute(update(packed_counts).where(packed_counts.c.seq == 2).values(content=b"damaged"))
    ref = recorder.snapshot(count())
    _advance(engine, ref, 10 * _INTERVAL)
    assert _there(engine) == [1, 3, 4, 5]
