"""What an actor does otherwise, as sentences and as a chart."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from detector.service.usual import LOOKED_BACK, SHOWN_HOURS, Past, chart, sentences
from detector.store.timeline import Moment
from tests.builders import START
from tests.notify.samples import alert

HOUR = timedelta(hours=1)
NOW = START.replace(minute=20)


def past(hours: dict[int, int], *, days: float = 28) -> Past:
    """Connects by how many hours before the alert's they were; watched for so many days."""
    moments = {START - HOUR * before: Moment(connects=number) for before, number in hours.items()}
    return Past.of("alice on bastion-1", START - timedelta(days=days), moments)


TOLD = alert(start=NOW, end=NOW + timedelta(seconds=40))


def test_what_is_normal_is_told_in_numbers() -> None:
    """How many hours, how many as a rule and at most, and what is usual at this time of day."""
    hours = {24 * day: 4 + day % 3 for day in range(1, 28)} | {24 * day + 5: 9 for day in range(1, 8)} | {0: 300}
    assert sentences(past(hours), TOLD) == (
        "In the 28 days before, alice on bastion-1 made connects in 34 of 672 hours: 5 as a rule, at most 9.",
        "At this time of day (09:00 to 10:00 UTC) 4 to 6 are usual.",
    )


def test_who_was_never_there_is_told_so() -> None:
    """The alert's own hour does not count."""
    assert sentences(past({0: 300}, days=2), TOLD) == (
        "In the 2 days before, alice on bastion-1 made no connects at all.",
    )


def test_a_host_that_is_new_has_no_past() -> None:
    """Less than an hour says nothing."""
    assert sentences(past({0: 300}, days=0.01), TOLD) == ()


def test_the_chart_shows_two_days_and_what_is_usual() -> None:
    """The last bar is the alert's hour, which is marked and beyond the band."""
    drawn = chart(past({24 * day: 5 for day in range(1, 28)} | {0: 300}), TOLD)
    assert drawn is not None
    assert len(drawn.values) == SHOWN_HOURS
    assert (drawn.starts[-1], drawn.values[-1], drawn.high[-1]) == (START, 300.0, 5.0)
    assert drawn.values[-1 - 24] == 5.0
    assert drawn.high[-2] == 0.0
    assert drawn.marked == (TOLD.start, TOLD.end)
    assert drawn.band == "9 of 10 of the same hours in 28 days"


def test_a_short_past_has_no_band_and_a_short_chart() -> None:
    """Of three days nothing is usual yet; and what was not watched is not drawn as nothing."""
    drawn = chart(past({0: 300}, days=1), TOLD)
    assert drawn is not None
    assert drawn.high == ()
    assert drawn.starts[0] == START - HOUR * 24


def test_nothing_is_not_drawn() -> None:
    """There is no chart without a bar."""
    assert chart(past({}), TOLD) is None


@given(
    st.dictionaries(st.integers(0, 700), st.integers(0, 10**9), max_size=50),
    st.floats(0, 40),
    st.integers(0, 10**6),
)
def test_any_past_can_be_told(hours: dict[int, int], days: float, seconds: int) -> None:
    """Whatever there was, however long the alert went on: sentences of a line, and no band the wrong way."""
    told = alert(start=NOW, end=NOW + timedelta(seconds=seconds))
    known = past(hours, days=days)
    assert all(each.isprintable() for each in sentences(known, told))
    drawn = chart(known, told)
    if drawn is not None:
        assert all(low <= high for low, high in zip(drawn.low, drawn.high, strict=True))
        assert drawn.starts[-1] <= told.end


def test_days_of_which_hours_have_expired_are_taken_where_they_begin() -> None:
    """What is known by the day alone makes no hour that it was not."""
    day = datetime(2026, 2, 10, tzinfo=START.tzinfo)
    assert Past.of("x", START - LOOKED_BACK, {day: Moment(connects=7)}).hours == {day: 7}
