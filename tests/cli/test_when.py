"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.cli.terminal import local
from detector.cli.when import parse_moment

_NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
        (" 90m ", timedelta(minutes=90)),
    ],
)
def test_a_span_counts_back(text: str, ago: timedelta) -> None:
    """A number and a unit is a time ago."""
    assert parse_moment(text, _NOW) == _NOW - ago


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20", datetime(2026, 11, 19, 23, 0, tzinfo=UTC)),
        ("2026-11-20 14:00", datetime(2026, 11, 20, 13, 0, tzinfo=UTC)),
        ("2026-11-20T14:00:30", datetime(2026, 11, 20, 13, 0, 30, tzinfo=UTC)),
        ("2026-07-20 14:00", datetime(2026, 7, 20, 12, 0, tzinfo=UTC)),
        ("2026-11-20T14:00:00Z", datetime(2026, 11, 20, 14, 0, tzinfo=UTC)),
        ("2026-11-20 14:00+05:30", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_time_without_offset_is_local(text: str, moment: datetime) -> None:
    """ISO 8601 in the local zone, summer time minded; a date alone is its first moment; an offset counts."""
    found = parse_moment(text, _NOW)

    assert found == moment
    assert found.tzinfo is not None


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "7 d", "d", "-2h", "1.5h", "2h30m", "yesterday", "2026-13-01", "20.11.2026", "14:00"),
        *("99999999w", "9" * 400 + "s", "0001-01-01T00:00:00+23:59 x", "\u0667d"),
    ],
)
def test_anything_else_is_refused_with_what_can_be_written(text: str) -> None:
    """The message repeats what was written and shows what is understood."""
    with pytest.raises(ValueError, match="is not a time; write 2026-11-20") as fault:
        parse_moment(text, _NOW)

    assert repr(text) in str(fault.value)
    assert "7d" in str(fault.value)


@given(st.text(max_size=12))
def test_nothing_else_can_happen(text: str) -> None:
    """Any text is a time with a zone, or refused."""
    try:
        moment = parse_moment(text, _NOW)
    except ValueError:
        return
    assert moment.tzinfo is not None


@given(st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, timezone(timedelta(hours=3)))))
def test_what_is_shown_can_be_asked_for(moment: datetime) -> None:
    """A time as tables show it is understood as the time that it is."""
    assert parse_moment(local(moment), _NOW) == moment
