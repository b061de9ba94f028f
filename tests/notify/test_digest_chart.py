"""A digest to a chat has a picture, since a chat shows no charts of HTML; a mail shows its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from detector import digest as told
from detector.domain import Notice, Severity
from detector.notify.digest_chart import digest_chart
from detector.notify.notices import render_notice
from tests.builders import START
from tests.notify.digests import digest

if TYPE_CHECKING:
    from detector.digest import Digest

_PNG = b"\x89PNG"


def _with_bars(*counts: int, span: timedelta = timedelta(hours=1)) -> Digest:
    found = digest()
    bars = tuple(
        told.Bar(start=START + number * span, counts={"high": count} if count else {})
        for number, count in enumerate(counts)
    )
    return replace(found, alerts=replace(found.alerts, bars=bars))


def test_it_shows_the_alerts_over_time() -> None:
    """By hours or by days, all severities together."""
    by_hour, by_day = digest_chart(_with_bars(0, 3, 1)), digest_chart(_with_bars(2, 0, span=timedelta(days=1)))

    assert by_hour is not None
    assert (by_hour.title, by_hour.values, by_hour.span_seconds) == ("alerts, per hour", (0, 3, 1), 3600)
    assert by_day is not None
    assert (by_day.title, by_day.values) == ("alerts, per day", (2, 0))


def test_of_nothing_there_is_no_picture() -> None:
    """No alerts, a single span, or more spans than a picture shows."""
    assert digest_chart(_with_bars(0, 0)) is None
    assert digest_chart(_with_bars(7)) is None
    assert digest_chart(_with_bars(*[1] * 401)) is None


def test_it_is_drawn_for_those_that_want_a_picture() -> None:
    """By the process that draws charts; what has charts of its own is sent none."""
    notice = Notice(
        notice_id=1,
        kind=told.Kind.DAILY,
        subject="2026-03-03",
        severity=Severity.MEDIUM,
        created_at=START,
        content=told.to_stored(_with_bars(0, 3, 1)),
    )

    assert (render_notice(notice, chart=True).chart or b"").startswith(_PNG)
    assert render_notice(notice).chart is None
