"""When digests are sent, and what cannot be meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import config
from detector.config_digest import Digest
from detector.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MAIL = '[[channels]]\nname = "mail"\nurl = "json://127.0.0.1"\n'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('channels = ["male"]', "digest.channels: there is no channel 'male'", "did you mean mail?"),
        ('channels = ["mail", "mail"]', "digest.channels: a channel is named twice", "name each once"),
        ('channels = ["mail"]\ndaily = ""\nweekly = ""', "digest.channels: they are sent nothing", "say when"),
        ('daily = "7:00"', "digest.daily: expected a time of day", 'write it as "07:00"'),
        ('daily = "24:00"', "digest.daily: expected a time of day", 'write it as "07:00"'),
        ('weekly = "07:00"', "digest.weekly: expected a day of the week and a time", 'write it as "monday 07:00"'),
        ('weekly = "someday 07:00"', "digest.weekly: expected a day of the week", 'write it as "monday 07:00"'),
        ('time_zone = "Europe/Nowhere"', "digest.time_zone: there is no 'Europe/Nowhere' here", "write it as Europe"),
        ('time_zone = "../../etc/passwd"', "digest.time_zone: there is no", "write it as Europe"),
        ('min_severity = "loud"', "digest.min_severity", "one of: informational"),
        ("dayly = '07:00'", "unknown key digest.dayly", "did you mean daily?"),
    ],
)
def test_a_bad_digest_is_refused(tmp_path: Path, text: str, message: str, hint: str) -> None:
    """Each fault names the file and the key, and says what would be right."""
    file = tmp_path / "detector.toml"
    file.write_text(f"[digest]\n{text}\n{MAIL}")
    with pytest.raises(ConfigError) as fault:
        config.load(file, {})
    assert str(file) in fault.value.message
    assert message in fault.value.message
    assert hint in fault.value.hint


def test_the_console_takes_digests_when_it_is_there(tmp_path: Path) -> None:
    """It is a channel like the others, unless it is switched off."""
    file = tmp_path / "detector.toml"
    file.write_text('[digest]\nchannels = ["console"]\n')
    assert config.load(file, {}).digest.channels == ("console",)
    file.write_text('[notify]\nconsole = false\n[digest]\nchannels = ["console"]\n')
    with pytest.raises(ConfigError, match=r"digest\.channels: the console is switched off"):
        config.load(file, {})


def test_a_channel_for_digests_alone_is_in_no_route(tmp_path: Path) -> None:
    """It is reached, if not by alerts."""
    file = tmp_path / "detector.toml"
    other = '[[channels]]\nname = "pager"\nurl = "json://127.0.0.1"\n[[routes]]\nchannels = ["pager"]\n'
    file.write_text(f'[digest]\nchannels = ["mail"]\n{MAIL}{other}')
    assert config.load(file, {}).digest.channels == ("mail",)
    file.write_text(MAIL + other)
    with pytest.raises(ConfigError, match="channel 'mail' is reached by no route"):
        config.load(file, {})


def test_nothing_is_sent_unless_a_channel_is_named() -> None:
    """By default there is no digest, and one line makes both."""
    assert Digest().channels == ()
    assert Digest().last_day(datetime(2026, 3, 2, 9, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        # Before, at and after the moment; in Berlin it is 07:00 at 06:00 UTC in winter.
        ("2026-03-02T05:59", "2026-02-28T06:00", "2026-03-01T06:00"),
        ("2026-03-02T06:00", "2026-03-01T06:00", "2026-03-02T06:00"),
        ("2026-03-02T12:00", "2026-03-01T06:00", "2026-03-02T06:00"),
        # The day that has 23 hours, and the one that has 25.
        ("2026-03-29T12:00", "2026-03-28T06:00", "2026-03-29T05:00"),
        ("2026-10-25T12:00", "2026-10-24T05:00", "2026-10-25T06:00"),
    ],
)
def test_a_day_ends_at_its_time_on_the_wall(now: str, start: str, end: str) -> None:
    """Summer time begins and ends in the middle of a digest."""
    digest = Digest(daily="07:00", time_zone="Europe/Berlin")
    expected = tuple(datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (start, end))
    assert digest.last_day(datetime.fromisoformat(now).replace(tzinfo=UTC)) == expected


def test_a_week_ends_on_its_day() -> None:
    """On Monday before the time it is the week before."""
    digest = Digest(weekly="monday 07:00")
    monday = datetime(2026, 3, 2, 7, tzinfo=UTC)
    week = timedelta(days=7)
    assert digest.last_week(monday) == (monday - week, monday)
    assert digest.last_week(monday - timedelta(minutes=1)) == (monday - 2 * week, monday - week)
    assert digest.last_week(monday + timedelta(days=6, hours=23)) == (monday - week, monday)


def test_without_a_time_there_is_none() -> None:
    """Either can be left out."""
    now = datetime(2026, 3, 2, 7, tzinfo=UTC)
    assert Digest(daily="").last_day(now) is None
    assert Digest(weekly="").last_week(now) is None


@given(
    now=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    hour=st.integers(0, 23),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
)
def test_days_follow_one_another_without_a_gap(now: datetime, hour: int, zone: str) -> None:
    """Each begins where the one before it ended, ends in the past, and is followed by one within a day or so."""
    digest = Digest(daily=f"{hour:02}:30", time_zone=zone)
    period = digest.last_day(now)
    assert period is not None
    start, end = period
    assert start < end <= now < end + timedelta(hours=26)
    before = digest.last_day(end - timedelta(microseconds=1))
    assert before is not None
    assert before[1] == start
