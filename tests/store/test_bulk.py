"""Many rows in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from detector.errors import StoreError
from detector.store import bulk
from detector.store.engine import reading, writing
from detector.store.tables import alert_silences, findings
from tests.builders import START

if TYPE_CHECKING:
    from sqlalchemy import Engine

NAMES = ("silence_id", "matchers", "starts_at", "ends_at", "author", "reason", "created_at", "expired_by")
TEXT = 'it\'s "quoted", {braced}, back\\slashed,\nand NULL'


def test_what_the_database_says_against_rows_is_a_fault_of_the_database(engine: Engine) -> None:
    """A full disk, say, or rows of an alert that is not there; no driver's own exception, which nobody awaits."""
    rows = [(1, 1, "rule", "f" * 32, 7, "opened", START, START, 1)]
    with pytest.raises(StoreError, match=r"alert|FOREIGN KEY"), writing(engine) as connection:
        bulk.add(connection, findings, [column.name for column in findings.c], rows)
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(findings)) == 0


def test_any_values_are_written_as_they_are(engine: Engine) -> None:
    """Times, JSON, text of any kind and nothing come back as they went in; what is there already is left alone."""
    rows = [
        (1, [["user", "=", TEXT]], START, START, TEXT, "NULL", START, None),
        (2, [], START, START, "", "ü", START, "null"),
    ]
    with writing(engine) as connection:
        bulk.add_any(connection, alert_silences, NAMES, rows)
        bulk.add_any(connection, alert_silences, NAMES, [(*rows[0][:5], "other", *rows[0][6:])], missing=True)
        bulk.add_any(connection, alert_silences, NAMES, [])
    assert _stored(engine) == rows


def test_rows_are_changed_by_their_first_column(engine: Engine) -> None:
    """Only the named columns of the named rows take new values."""
    rows: list[tuple[Any, ...]] = [(number, [], START, START, "anna", "noise", START, None) for number in (1, 2, 3)]
    with writing(engine) as connection:
        bulk.add_any(connection, alert_silences, NAMES, rows)
        changes = [(1, [["rule", "=", TEXT]], "ben"), (3, [["host", "=", "h"]], None)]
        bulk.change(connection, alert_silences, ("silence_id", "matchers", "expired_by"), changes)
        bulk.change(connection, alert_silences, ("silence_id", "author"), [])
        bulk.change(connection, alert_silences, ("silence_id",), [(1,)])
    found = _stored(engine)
    assert [(row[1], row[7]) for row in found] == [
        ([["rule", "=", TEXT]], "ben"),
        ([], None),
        ([["host", "=", "h"]], None),
    ]
    assert {row[4:6] for row in found} == {("anna", "noise")}


def _stored(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as connection:
        columns = (alert_silences.c[name] for name in NAMES)
        return [tuple(row) for row in connection.execute(select(*columns).order_by(alert_silences.c.silence_id))]
