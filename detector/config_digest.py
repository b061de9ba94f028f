"""`[digest]`: a message of what a day or a week brought, and when it is sent."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from detector.config_routes import Weekday
from detector.config_section import Section
from detector.config_wording import nearest
from detector.domain import Severity
from detector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

_DAILY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")
_WEEKLY = re.compile(rf"({'|'.join(Weekday)}) +([01]\d|2[0-3]):([0-5]\d)\Z")
_CONSOLE = "console"


class Digest(Section, frozen=True):
    """What a day or a week brought, in one message."""

    channels: tuple[str, ...] = ()
    """Where it is sent. Empty: there is none."""
    daily: str = "07:00"
    """When that of the last day is sent. Empty: never."""
    weekly: str = "monday 07:00"
    """When that of the last week is sent. Empty: never."""
    time_zone: str = "UTC"
    """Of both, and of the times in them, as Europe/Berlin."""
    min_severity: Severity = Severity.LOW
    """Alerts below this are counted, and not listed one by one."""
    when_quiet: bool = True
    """Send the daily one also of a day on which there was nothing to tell."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)

    def last_day(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The last day that is over, from one moment of sending to the next; None: there is no daily digest."""
        found = _DAILY.match(self.daily)
        return self._last(now, time(int(found[1]), int(found[2])), None) if found else None

    def last_week(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The same of weeks."""
        found = _WEEKLY.match(self.weekly)
        if found is None:
            return None
        return self._last(now, time(int(found[2]), int(found[3])), list(Weekday).index(Weekday(found[1])))

    def _last(self, now: datetime, at: time, weekday: int | None) -> tuple[datetime, datetime]:
        day = now.astimezone(self.zone).date()
        if self._moment(day, at) > now:
            day -= timedelta(days=1)
        back = 0 if weekday is None else (day.weekday() - weekday) % 7
        end = day - timedelta(days=back)
        return self._moment(end - timedelta(days=1 if weekday is None else 7), at), self._moment(end, at)

    def _moment(self, day: date, at: time) -> datetime:
        # By the clock on the wall: a day may have 23 hours, or 25.
        return datetime.combine(day, at, self.zone).astimezone(ZoneInfo("UTC"))


def check_digest(digest: Digest, channels: Collection[str], source: str, *, console: bool) -> None:
    """Refuses what cannot be meant.

    Args:
        channels: those that are configured, by name.
        source: the file, for messages.
        console: whether the console is switched on.

    Raises:
        ConfigError: with the file and the key.
    """
    where = f"{source}: digest."
    for name in digest.channels:
        if name == _CONSOLE and not console:
            raise ConfigError(f"{where}channels: the console is switched off", hint="see notify.console")
        if name != _CONSOLE and name not in channels:
            known = [*channels, _CONSOLE]
            raise ConfigError(f"{where}channels: there is no channel {name!r}", hint=nearest(name, known))
    if len(set(digest.channels)) < len(digest.channels):
        raise ConfigError(f"{where}channels: a channel is named twice", hint="name each once")
    if digest.daily and not _DAILY.match(digest.daily):
        raise ConfigError(f"{where}daily: expected a time of day", hint='write it as "07:00", or "" for none')
    if digest.weekly and not _WEEKLY.match(digest.weekly):
        hint = 'write it as "monday 07:00", or "" for none'
        raise ConfigError(f"{where}weekly: expected a day of the week and a time", hint=hint)
    if digest.channels and not (digest.daily or digest.weekly):
        hint = "say when to send one, or name no channels"
        raise ConfigError(f"{where}channels: they are sent nothing: daily and weekly are empty", hint=hint)
    try:
        _ = digest.zone
    except (ValueError, OSError, KeyError):
        hint = "write it as Europe/Berlin, or UTC"
        raise ConfigError(f"{where}time_zone: there is no {digest.time_zone!r} here", hint=hint) from None
