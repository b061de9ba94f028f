"""Which alerts go to which channels: `[[routes]]`, and what is wrong with them."""

from __future__ import annotations

import re
from datetime import time
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from detector.config_section import Section
from detector.config_wording import nearest
from detector.domain import Severity  # noqa: TC001 - msgspec looks it up
from detector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

MATCHERS = ("severity", "rule", "host", "user", "login_user")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")
_WILD = re.compile(r"[*?\[]")


class Weekday(StrEnum):
    """Days, in the order of `datetime.weekday`."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Route(Section, frozen=True, rename={"goes_on": "continue"}):
    """Where some alerts go. Of each matcher that is not empty one pattern has to match."""

    channels: tuple[str, ...]
    """The channels that these alerts are sent to; none: they are sent nowhere."""
    severity: tuple[Severity, ...] = ()
    rule: tuple[str, ...] = ()
    """Globs of rules' ids or titles."""
    host: tuple[str, ...] = ()
    """Globs of host names."""
    user: tuple[str, ...] = ()
    """Globs: any of the accounts in an alert."""
    login_user: tuple[str, ...] = ()
    """Globs: any of those who had logged in."""
    hours: str = ""
    """From and to, as 22:00-06:00; empty: always."""
    weekdays: tuple[Weekday, ...] = ()
    """On these days; hours that pass midnight belong to the day on which they begin. Empty: on all."""
    time_zone: str = "UTC"
    """Of `hours` and `weekdays`, as Europe/Berlin."""
    goes_on: bool = False
    """`continue`: the routes below are looked at as well."""

    @property
    def matches_all(self) -> bool:
        """It has no condition at all."""
        return not self.hours and not self.weekdays and not any(getattr(self, name) for name in MATCHERS)

    @property
    def span(self) -> tuple[time, time] | None:
        """From and to; None: all day."""
        found = _HOURS.match(self.hours)
        if found is None:
            return None
        first, second, third, fourth = map(int, found.groups())
        return time(first, second), time(third, fourth)


def check_routes(
    routes: Sequence[Route], channels: Mapping[str, Severity], source: str, *, elsewhere: Collection[str] = ()
) -> None:
    """Refuses routes that cannot be meant.

    Args:
        channels: the lowest severity that each configured channel takes, by name.
        source: the file, for messages.
        elsewhere: the channels that are reached otherwise.

    Raises:
        ConfigError: the first fault, with file, route and key.
    """
    if not routes:
        return
    for number, route in enumerate(routes):
        where = f"{source}: routes[{number}]"
        for message, hint in _faults(route, channels):
            raise ConfigError(f"{where}.{message}", hint=hint)
        for before, earlier in enumerate(routes[:number]):
            if not earlier.goes_on and _covers(earlier, route):
                raise ConfigError(
                    f"{where} can never match: routes[{before}] takes all of it",
                    hint=f"put it before routes[{before}], or write continue = true there",
                )
    if not routes[-1].matches_all or routes[-1].goes_on:
        raise ConfigError(
            f"{source}: routes: an alert that none of them matches would go nowhere",
            hint="end with one that has channels alone, without conditions",
        )
    reached = {name for route in routes for name in route.channels} | set(elsewhere)
    for name in channels:
        if name not in reached:
            raise ConfigError(
                f"{source}: channel {name!r} is reached by no route", hint="name it in a route, or remove it"
            )


def _faults(route: Route, channels: Mapping[str, Severity]) -> Iterator[tuple[str, str]]:
    for name in route.channels:
        if name == "console":
            yield "channels: the console is no matter of routes", "it shows all alerts: see notify.console"
        elif name not in channels:
            yield f"channels: there is no channel {name!r}", nearest(name, channels) if channels else ""
        elif route.severity and max(each.rank for each in route.severity) < channels[name].rank:
            yield (
                f"channels: {name!r} takes nothing of these severities: its min_severity is {channels[name]}",
                "raise severity here, or lower min_severity there",
            )
    if route.hours and (route.span is None or len(set(route.span)) == 1):
        yield "hours: expected from and to, which differ", "write it as 22:00-06:00"
    for key in MATCHERS:
        if "" in getattr(route, key):
            yield f"{key}: an empty pattern matches nothing", "write * for anything"
    try:
        ZoneInfo(route.time_zone)
    except (ValueError, OSError, KeyError):
        yield f"time_zone: there is no {route.time_zone!r} here", "write it as Europe/Berlin, or UTC"


def _covers(earlier: Route, later: Route) -> bool:
    """Whether all that the later one could match goes to the earlier one; what is not plain to see does not."""
    times = ("hours", "weekdays", "time_zone")
    if (earlier.hours or earlier.weekdays) and any(getattr(earlier, key) != getattr(later, key) for key in times):
        return False
    for key in MATCHERS:
        wide, narrow = getattr(earlier, key), getattr(later, key)
        if wide and (not narrow or not all(_within(each, wide) for each in narrow)):
            return False
    return True


def _within(pattern: str, patterns: Sequence[str]) -> bool:
    if pattern in patterns or "*" in patterns:
        return True
    return not _WILD.search(pattern) and any(fnmatchcase(pattern, each) for each in patterns)
