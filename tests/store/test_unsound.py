"""What somebody has put into the tables that detector does not write."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from detector.errors import StoreError
from detector.store import alerts
from detector.store.engine import reading, writing
from detector.store.unsound import first_unsound
from detector.store.verifying import Verifier
from tests.builders import Recorder, count, insert_alert

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _put(engine: Engine, table: str, column: str, value: Any) -> None:
    """As somebody else does: SQLite takes any value anywhere."""
    assert engine.url.database
    with closing(sqlite3.connect(engine.url.database, isolation_level=None)) as connection:
        connection.execute(f'UPDATE "{table}" SET "{column}" = ?', (value,))


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """A database with a snapshot and an alert."""
    Recorder(engine).snapshot(count())
    insert_alert(engine)
    return engine


def test_what_detector_writes_is_sound(engine: Engine) -> None:
    """On both databases, nothing is complained of."""
    with reading(engine) as connection:
        assert first_unsound(connection) is None


@pytest.mark.parametrize(
    ("table", "column", "value", "key"),
    [
        ("alerts", "opened_at", "yesterday", "alert_id 1"),
        ("alerts", "opened_at", 2**62, "alert_id 1"),
        ("alerts", "severity", "grave", "alert_id 1"),
        ("alerts", "score", float("inf"), "alert_id 1"),
        ("alerts", "finding_count", b"\0", "alert_id 1"),
        ("alerts", "group", "{", "alert_id 1"),
        ("alerts", "group", '{"user": ["a"]}', "alert_id 1"),
        ("alerts", "explanations", '["x"]', "alert_id 1"),
        ("snapshots", "self_test_passed", 7, "host_id 1, seq 1, end 1772442010000000"),
        ("connection_keys", "remote_address", b"abc", "host_id 1, key_id 1"),
        ("packed_counts", "content", "text", "host_id 1, seq 1, end 1772442010000000"),
    ],
)
def test_what_is_not_of_its_kind_is_found(
    sqlite_engine: Engine, table: str, column: str, value: object, key: str
) -> None:
    """By table, key and column."""
    Recorder(sqlite_engine).snapshot(count())
    insert_alert(sqlite_engine)
    _put(sqlite_engine, table, column, value)
    with sqlite_engine.connect() as connection:
        found = first_unsound(connection)
    assert str(found) == f"table {table}, {key}: {column} holds what detector does not write"


def test_a_reader_is_told_where_it_is(engine: Engine) -> None:
    """A value that nothing can be made of is a fault with a place and a remedy, on both databases."""
    with writing(engine) as connection:
        connection.execute(text('UPDATE alerts SET "explanations" = :wrong'), {"wrong": json.dumps(5)})
    said = "table alerts, alert_id 1: explanations holds"
    with pytest.raises(StoreError, match=said) as fault, reading(engine) as connection:
        alerts.list_alerts(connection)
    assert "put a copy back" in fault.value.hint


@pytest.mark.parametrize("value", ["ff41", "41c3"])
def test_bytes_that_are_no_text_are_found(sqlite_engine: Engine, value: str) -> None:
    """SQLite takes any for it, and its driver refuses to read them, whoever asks; names in other scripts are text."""
    Recorder(sqlite_engine).snapshot(count(user="jürgen", executable="/opt/программа"))
    with reading(sqlite_engine) as connection:
        assert first_unsound(connection) is None
    with writing(sqlite_engine) as connection:
        connection.execute(text(f"UPDATE connection_keys SET executable = CAST(x'{value}' AS TEXT)"))
    with (
        pytest.raises(StoreError, match="connection_keys, host_id 1, key_id 1: executable holds") as fault,
        reading(sqlite_engine) as connection,
    ):
        list(Verifier(connection, 1).steps())
    assert "put a copy back" in fault.value.hint


def test_what_is_no_fault_of_the_database_stays_what_it_is(sqlite_engine: Engine) -> None:
    """A mistake of ours is not blamed on the rows."""
    with pytest.raises(ZeroDivisionError), reading(sqlite_engine):
        _ = 1 / 0
