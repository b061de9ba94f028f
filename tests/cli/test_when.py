"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.cli.terminal import local
from detector.cli.when import parse_moment, parse_period

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
        ("now", _NOW),
        ("today", datetime(2026, 11, 19, 23, 0, tzinfo=UTC)),
        ("Today 08:15", datetime(2026, 11, 20, 7, 15, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 18, 23, 0, tzinfo=UTC)),
        ("yesterday 14:00:30", datetime(2026, 11, 19, 13, 0, 30, tzinfo=UTC)),
        ("13:00", datetime(2026, 11, 20, 12, 0, tzinfo=UTC)),
        ("13:01", datetime(2026, 11, 19, 12, 1, tzinfo=UTC)),
        ("monday", datetime(2026, 11, 15, 23, 0, tzinfo=UTC)),
        ("fri 9:30", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
        ("sat", datetime(2026, 11, 13, 23, 0, tzinfo=UTC)),
        ("@1795183200", datetime(2026, 11, 20, 14, 0, tzinfo=UTC)),
        ("1795183200", datetime(2026, 11, 20, 14, 0, tzinfo=UTC)),
        ("Fri, 20 Nov 2026 14:00:00 +0100", datetime(2026, 11, 20, 13, 0, tzinfo=UTC)),
        ("20 Nov 2026 14:00:00 GMT", datetime(2026, 11, 20, 14, 0, tzinfo=UTC)),
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
        *("", "7", "7 d", "d", "-2h", "1.5h", "2h30m", "tomorrow", "2026-13-01", "20.11.2026", "25:00"),
        *(
            "today 9",
            "monday 24:00",
            "someday",
            "9:5",
            "@",
            "123456789",
            "@99999999999999",
            "Fri, 99 Nov 2026",
            "monday,",
        ),
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


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("7d", _NOW - timedelta(days=7), _NOW),
        ("14d..7d", _NOW - timedelta(days=14), _NOW - timedelta(days=7)),
        ("7d..", _NOW - timedelta(days=7), None),
        ("..7d", None, _NOW - timedelta(days=7)),
        ("yesterday", datetime(2026, 11, 18, 23, 0, tzinfo=UTC), datetime(2026, 11, 19, 23, 0, tzinfo=UTC)),
        ("2026-10-25", datetime(2026, 10, 24, 22, 0, tzinfo=UTC), datetime(2026, 10, 25, 23, 0, tzinfo=UTC)),
        ("2026-11-01..2026-11-08", datetime(2026, 10, 31, 23, tzinfo=UTC), datetime(2026, 11, 7, 23, tzinfo=UTC)),
    ],
)
def test_a_period_is_from_one_moment_to_another(text: str, since: datetime | None, until: datetime | None) -> None:
    """A span reaches until now, a day is all of it, however long the clocks make it."""
    assert parse_period(text, _NOW) == (since, until)


@pytest.mark.parametrize(
    ("text", "advice"), [("14:00", r"write 14:00\.\."), ("7d..14d", "ends before it begins"), ("x", "7d")]
)
def test_what_is_no_period_is_refused(text: str, advice: str) -> None:
    """A moment alone is none, nor what ends before it begins."""
    with pytest.raises(ValueError, match=advice):
        parse_period(text, _NOW)
