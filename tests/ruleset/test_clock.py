"""The fields Hour and Weekday, which say when a snapshot began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.builders import Recorder, count, observe
from tests.ruleset.writing import correlation, evaluated, event, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

_MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def test_hour_and_weekday_are_those_of_the_calendar_in_utc(engine: Engine, tmp_path: Path) -> None:
    """Of a week, an hour apart and at the last microsecond, both databases say what Python says."""
    rule = event({"DestinationPort": 22}, group_by=["Hour", "Weekday"])
    ruleset = loaded(tmp_path, rule)
    for hour in range(0, 7 * 24, 5):
        moment = _MONDAY + timedelta(hours=hour + 1, microseconds=-1)
        ref = Recorder(engine, host=f"bastion-{hour}", now=moment).snapshot(count())
        (finding,) = evaluated(engine, ruleset, ref)
        assert finding.group == {"hour": moment.hour, "weekday": moment.isoweekday()}


def test_a_correlation_counts_the_hours_in_which_something_happened(engine: Engine, tmp_path: Path) -> None:
    """What comes in three hours is told from what comes three times in one."""
    counted = correlation(["User"], {"field": "Hour", "gte": 3}, timespan="24h")
    ruleset = loaded(tmp_path, event({"Initiated": True}), counted)
    recorder = Recorder(engine)
    found = []
    for hours in (0, 0, 1, 1):
        recorder.pass_time(hours=hours)
        ref = recorder.snapshot(count())
        observe(engine, ref)
        found.append(len(evaluated(engine, ruleset, ref)))
    assert found == [0, 0, 0, 1]
