"""Whoever changes what is stored breaks the chain that a host's snapshots are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select, update

from detector.domain import CaptureHealth, SnapshotRef
from detector.store import expiry
from detector.store.chain import BreakKind
from detector.store.cursors import advance_cursor, create_cursors
from detector.store.engine import reading, writing
from detector.store.packing import pack_columns, unpack_counts
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import (
    connection_keys,
    destination_names,
    detection_cursors,
    login_origins,
    packed_counts,
    snapshots,
)
from detector.store.verifying import Verified, Verifier, check_next, missing
from tests.builders import Recorder, count

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Engine

_COUNTS = (
    count("10.0.4.12", 22, attempted=3, established=2, refused=1, login_address="203.0.113.7", login_source="ssh"),
    count("fd00::1", 443, executable=None, command="curl", session=7, remote_name="example.org"),
)


def _verified(engine: Engine, host_id: int = 1) -> Verified:
    with reading(engine) as connection:
        return list(Verifier(connection, host_id).steps())[-1]


def _breaks(engine: Engine) -> list[tuple[str, int, int]]:
    found = _verified(engine)
    return [(each.kind.value, each.first_seq, each.last_seq) for each in found.breaks]


def _fill(engine: Engine, number: int = 5) -> Recorder:
    recorder = Recorder(engine, unpacked=False)
    for each in range(number):
        recorder.snapshot(*_COUNTS[: each % 3], health=CaptureHealth(self_test_passed=True))
    with writing(engine) as connection:
        create_cursors(connection)
    return recorder


def _detect(engine: Engine, seq: int) -> None:
    with writing(engine) as connection:
        row = connection.execute(select(snapshots.c.start, snapshots.c.end).where(snapshots.c.seq == seq)).one()
        advance_cursor(connection, SnapshotRef(host_id=1, host="bastion-1", seq=seq, start=row.start, end=row.end))


def test_what_is_stored_holds_together(engine: Engine) -> None:
    """With counts or without, from one collector or the next one, on SQLite and Postgres: no break, and a last hash."""
    recorder = _fill(engine)
    recorder.writer = SnapshotWriter("bastion-1")
    recorder.snapshot(*_COUNTS)

    found = _verified(engine)

    assert (found.snapshots, found.unchained, found.breaks, found.last_seq) == (6, 0, [], 6)
    assert found.head is not None
    assert len(found.head) == 32


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (snapshots, {"self_test_passed": False}),
        (snapshots, {"gap_seconds": 60.0}),
        (snapshots, {"stopped": True}),
        (snapshots, {"chain_hash": bytes(32)}),
        (snapshots, {"chain_hash": None}),
        (packed_counts, {"content": b"nothing"}),
    ],
)
def test_a_changed_column_is_found(sqlite_engine: Engine, table: Any, values: dict[str, object]) -> None:
    """Whatever is said of the third snapshot, or counted in it."""
    _fill(sqlite_engine)

    with writing(sqlite_engine) as connection:
        connection.execute(update(table).where(table.c.seq == 3).values(values))

    assert ("changed", 3, 3) in _breaks(sqlite_engine)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (connection_keys, {"remote_port": 23}),
        (connection_keys, {"user": "bob"}),
        (login_origins, {"login_source": "console"}),
        (destination_names, {"remote_name": "example.com"}),
    ],
)
def test_a_name_that_stands_for_something_else_is_found(
    sqlite_engine: Engine, table: Any, values: dict[str, object]
) -> None:
    """The counts are as they were, but not what they are of."""
    _fill(sqlite_engine)

    with writing(sqlite_engine) as connection:
        connection.execute(update(table).values(values))

    assert ("changed", 3, 3) in _breaks(sqlite_engine)


def test_counts_that_moved_to_another_snapshot_are_found(sqlite_engine: Engine) -> None:
    """Both are wrong then."""
    _fill(sqlite_engine, 6)

    with writing(sqlite_engine) as connection:
        rows = connection.execute(select(packed_counts.c.seq, packed_counts.c.content))
        contents = {row.seq: row.content for row in rows}
        for seq, other in ((2, 3), (3, 2)):
            connection.execute(update(packed_counts).where(packed_counts.c.seq == seq).values(content=contents[other]))

    assert _breaks(sqlite_engine) == [("changed", 2, 2), ("changed", 3, 3)]


def test_a_count_that_was_made_smaller_is_found(engine: Engine) -> None:
    """Packed anew as detector would, with one attempt less."""
    _fill(engine)

    with writing(engine) as connection:
        content = connection.scalar(select(packed_counts.c.content).where(packed_counts.c.seq == 3))
        columns = {name: list(values) for name, values in unpack_counts(content or b"").items()}
        columns["attempted"][0] -= 1
        connection.execute(update(packed_counts).where(packed_counts.c.seq == 3).values(content=pack_columns(columns)))

    assert _breaks(engine) == [("changed", 3, 3)]


def test_what_is_missing_is_found_wherever_it_was(engine: Engine) -> None:
    """In the middle, at the beginning, and at the end if detection has seen it: by number, and between which times."""
    _fill(engine, 9)
    _detect(engine, 9)

    with writing(engine) as connection:
        for table in (packed_counts, snapshots):
            connection.execute(delete(table).where(table.c.seq.in_([1, 4, 5, 9])))

    assert _breaks(engine) == [("missing", 1, 1), ("missing", 4, 5), ("missing", 9, 9)]
    with reading(engine) as connection:
        counted = missing(connection, 1)
    assert {(each.first_seq, each.last_seq) for each in counted} == {(1, 1), (4, 5), (9, 9)}
    middle = _verified(engine).breaks[1]
    assert middle.until is not None
    assert middle.after is not None
    assert middle.until - middle.after == timedelta(seconds=20)


def test_what_has_expired_is_not_missed(engine: Engine) -> None:
    """Retention says what it deletes."""
    _fill(engine, 9)
    _detect(engine, 9)
    with writing(engine) as connection:
        connection.execute(update(detection_cursors).values(rolled_seq=9, recent_seq=10))
    with reading(engine) as connection:
        (state,) = expiry.host_states(connection)

    expiry.expire(engine, state, before=None, upto=6, limit=100)

    found = _verified(engine)
    assert (found.snapshots, found.breaks) == (3, [])
    with reading(engine) as connection:
        assert missing(connection, 1) == []


def test_the_numbers_of_deleted_snapshots_are_not_given_again(sqlite_engine: Engine) -> None:
    """A collector that goes on after its last ones were deleted leaves their numbers out, so that they are missed."""
    recorder = _fill(sqlite_engine)
    with writing(sqlite_engine) as connection:
        for table in (packed_counts, snapshots):
            connection.execute(delete(table).where(table.c.seq > 3))

    ref = recorder.snapshot(*_COUNTS)

    assert ref.seq == 6
    assert _breaks(sqlite_engine) == [("missing", 4, 5)]


def test_detection_sees_what_was_written_anew_behind_it(sqlite_engine: Engine) -> None:
    """Somebody makes the end of the chain anew, hashes and all, after detection has been there."""
    recorder = _fill(sqlite_engine)
    _detect(sqlite_engine, 5)
    with writing(sqlite_engine) as connection:
        for table in (packed_counts, snapshots):
            connection.execute(delete(table).where(table.c.seq >= 4))
    recorder.writer = SnapshotWriter("bastion-1")
    recorder.now -= timedelta(seconds=20)
    for _ in range(3):
        ref = recorder.snapshot(count("10.0.4.99", 22))

    assert _breaks(sqlite_engine) == []
    with reading(sqlite_engine) as connection:
        (found,) = check_next(connection, ref)
    assert (found.kind, found.first_seq) == (BreakKind.CHANGED, 6)


def test_older_snapshots_have_no_hash(sqlite_engine: Engine) -> None:
    """Of a database from before there was a chain nothing is said of what was there."""
    recorder = _fill(sqlite_engine, 3)
    with writing(sqlite_engine) as connection:
        connection.execute(update(snapshots).values(chain_hash=None))
    recorder.writer = SnapshotWriter("bastion-1")
    recorder.snapshot(*_COUNTS)

    found = _verified(sqlite_engine)

    assert (found.snapshots, found.unchained, found.breaks) == (4, 3, [])
