"""Nothing is deleted for its age by a clock that cannot be believed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.config import Settings
from detector.service import certainty, keeping
from detector.service.certainty import Certainty
from detector.service.keeping import Keeping, kept_from
from detector.store.cursors import advance_cursor, create_cursors
from detector.store.engine import reading, writing
from detector.store.tables import snapshots
from tests.builders import START, Lines, Recorder, count

if TYPE_CHECKING:
    from datetime import datetime

    import pytest
    from sqlalchemy import Engine

DAY = timedelta(days=1)
YEAR = timedelta(days=365)


@dataclass
class Clocks:
    """The wall clock, which may be set, and one that cannot be."""

    wall: datetime = START
    seconds: float = 1000.0

    def pass_by(self, time: timedelta, *, step: timedelta = timedelta(0)) -> datetime:
        """Time passes, and the wall clock is set meanwhile; what it shows then."""
        self.wall += time + step
        self.seconds += time.total_seconds()
        return self.wall

    def running(self) -> float:
        """The one that cannot be set."""
        return self.seconds

    def certainty(self, engine: Engine) -> Certainty:
        """As after a start."""
        return Certainty(engine, self.wall, self.running)


def _stored(engine: Engine, end: datetime) -> None:
    Recorder(engine, now=end - timedelta(seconds=10)).snapshot(count())


def test_a_store_that_knows_of_yesterday_is_believed_at_once(engine: Engine) -> None:
    """So a service that is started again and again deletes what has expired all the same."""
    _stored(engine, START - 1.5 * DAY)
    assert Clocks().certainty(engine).holds(START)


def test_a_start_while_the_clock_is_ahead_deletes_nothing(engine: Engine) -> None:
    """What was stored a moment ago, by the same clock, proves nothing; and a day later it is the clock."""
    _stored(engine, START - YEAR)
    _stored(engine, START - timedelta(seconds=10))
    clocks = Clocks()
    certain = clocks.certainty(engine)
    assert not certain.holds(START)
    assert not certain.was_set
    for _ in range(23):
        assert not certain.holds(clocks.pass_by(timedelta(hours=1)))
    assert certain.holds(clocks.pass_by(timedelta(hours=1)))


def test_a_clock_that_is_set_is_believed_after_a_day(engine: Engine) -> None:
    """Forward and back again; what a time service does, and a machine that slept, is no such thing."""
    _stored(engine, START - 1.5 * DAY)
    clocks = Clocks()
    certain = clocks.certainty(engine)
    assert certain.holds(clocks.pass_by(timedelta(hours=6), step=timedelta(minutes=5)))
    for step in (YEAR, -YEAR):
        assert not certain.holds(clocks.pass_by(timedelta(minutes=1), step=step))
        assert certain.was_set
        assert not certain.holds(clocks.pass_by(timedelta(minutes=1)))
    assert not certain.holds(clocks.pass_by(0.9 * DAY))
    assert certain.holds(clocks.pass_by(0.2 * DAY))
    assert not certain.was_set


def test_a_year_ahead_for_a_minute_takes_no_history_with_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole round of keeping: what is young stays, that is said once, and what was old has gone before."""
    monkeypatch.setattr(keeping, "_BY_AGE", timedelta(0))
    monkeypatch.setattr(keeping, "_FIRST_THOROUGHLY", timedelta(0))
    clocks, said = Clocks(), Lines()
    monkeypatch.setattr(certainty, "_running", clocks.running)
    recorder = Recorder(engine, now=START - 40 * DAY, interval=timedelta(hours=6))
    while recorder.now < START:
        ref = recorder.snapshot(count())
    with writing(engine) as connection:
        create_cursors(connection)
        advance_cursor(connection, ref)
    worker = Keeping(engine, kept_from(Settings(), engine), Event(), said, now=START)
    worker.round(clocks.wall)
    kept = _kept(engine)
    assert 120 <= kept <= 125
    for _ in range(3):
        worker.round(clocks.pass_by(timedelta(seconds=20), step=YEAR if clocks.wall < START + DAY else timedelta(0)))
    worker.round(clocks.pass_by(timedelta(seconds=20), step=-YEAR))
    assert _kept(engine) == kept
    assert [line for line in said.lines if "clock" in line] == [
        "the clock was set: nothing is deleted for its age before it has been right for a day"
    ]


def _kept(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(snapshots)) or 0
