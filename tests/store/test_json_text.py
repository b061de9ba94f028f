"""JSON in the database says what it said before, whoever wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from detector.store.engine import reading
from detector.store.json_text import read, written
from detector.store.tables import alerts
from tests.builders import Recorder, count, insert_alert

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Also what is no Unicode by itself, and numbers of any size.
_TEXTS = st.text(st.characters(codec=None, categories=None) | st.sampled_from("\x00\ud800\udcff"), max_size=10)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_what_is_written_is_what_the_standard_library_reads(value: Any) -> None:
    """And the other way round, so that what is stored by any version is read by any."""
    assert json.loads(written(value)) == value
    assert read(written(value)) == value
    assert read(json.dumps(value)) == value
    assert read(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["", "{", "[1,", "\x00", b"\xff"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    """As a value that is wrong, which is how a damaged database is noticed."""
    with pytest.raises(ValueError):  # noqa: PT011 - in the words of the standard library
        read(text)


def test_what_cannot_be_written_is_refused() -> None:
    """What is no value of JSON."""
    with pytest.raises(TypeError):
        written({"a": object()})


def test_both_databases_read_and_write_it(engine: Engine) -> None:
    """Names of any kind in what an alert's rows have in common."""
    Recorder(engine).snapshot(count())
    group = {"user": "ä☃", "executable": "\\u0041\"'", "session": 2**40}
    insert_alert(engine, alert_id=1, group=group)
    with reading(engine) as connection:
        assert connection.scalar(select(alerts.c.group)) == group
