"""All that is stored is gone through a page at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from detector.store import stream
from detector.store.filters import HistoryFilter
from tests.builders import START, Recorder, count, insert_alert

if TYPE_CHECKING:
    from sqlalchemy import Engine

_ALL = HistoryFilter()


def _rows(engine: Engine, wanted: HistoryFilter = _ALL) -> list[tuple[str, int, int, int]]:
    return [(row["host"], row["seq"], row["key_id"], row["session"]) for row in stream.every_row(engine, wanted)]


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Seven snapshots of 0 to 6 rows, and one of another host."""
    recorder = Recorder(engine)
    for number in range(7):
        recorder.snapshot(*(count(port=port, session=port % 3) for port in range(1, number + 1)))
    Recorder(engine, host="other").snapshot(count())
    return engine


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 1000])
def test_pages_lose_and_repeat_nothing(filled: Engine, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Whatever their size, all rows come once, host by host, in the order in which they were stored."""
    monkeypatch.setattr(stream, "_PAGE_SNAPSHOTS", size)

    rows = _rows(filled)

    assert len(set(rows)) == len(rows) == 22
    assert [row[0] for row in rows] == ["bastion-1"] * 21 + ["other"]
    assert rows[:21] == sorted(rows[:21])


def test_periods_that_meet_share_no_row(filled: Engine) -> None:
    """Together they are all of it."""
    middle = START + timedelta(seconds=50)

    before, after = _rows(filled, HistoryFilter(until=middle)), _rows(filled, HistoryFilter(since=middle))

    assert (len(before), len(after)) == (11, 11)
    assert set(before) | set(after) == set(_rows(filled))
    assert _rows(filled, HistoryFilter(since=START + timedelta(days=1))) == []


def test_what_is_stored_meanwhile_is_not_waited_for(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that stores as fast as a reader reads would have no end."""
    monkeypatch.setattr(stream, "_PAGE_SNAPSHOTS", 2)
    rows = stream.every_row(filled, HistoryFilter(host="bastion-1"))
    seen = [next(rows)["seq"]]
    Recorder(filled, now=START + timedelta(hours=1)).snapshot(count())

    seen += [row["seq"] for row in rows]

    assert (len(seen), max(seen)) == (21, 7)


def test_alerts_come_in_pages_too(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in the order in which they were opened, without those that are opened meanwhile."""
    monkeypatch.setattr(stream, "_PAGE_ALERTS", 2)
    for _ in range(5):
        insert_alert(filled)
    found = stream.every_alert(filled, _ALL, 3)
    ids = [next(found).alert.alert_id]
    insert_alert(filled)

    ids += [each.alert.alert_id for each in found]

    assert ids == [1, 2, 3, 4, 5]
