"""Which channels are told of an alert, and why the others are not: a pure decision.

In this order: the channels that its rule names; else those of the first route that matches (and of further ones while a
route says `continue`), as far as they take its severity; without routes, all that take its severity. The console is
told of everything but what a rule sends elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from detector.config_routes import Weekday

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from detector.config_routes import Route
    from detector.domain import Severity

NAMED = "the rule names it"
NOT_NAMED = "the rule names other channels"
BELOW = "below the channel's severity"
ALL = "it takes this severity"
_DAYS = tuple(Weekday)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPolicy:
    """Which alerts a channel takes."""

    name: str
    min_severity: Severity
    routed: bool = True
    """Routes decide what it is told; the console is told of everything."""

    def accepts(self, severity: Severity) -> bool:
        """Whether alerts of `severity` are sent here."""
        return severity.rank >= self.min_severity.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What is known of an alert that is to be sent."""

    severity: Severity
    rule_id: str
    rule_title: str
    host: str
    at: datetime
    users: frozenset[str] = frozenset()
    login_users: frozenset[str] = frozenset()
    named: tuple[str, ...] | None = None
    """The channels that its rule names; None: it names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What becomes of an alert at one channel."""

    channel: str
    sent: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Router:
    """All channels, and the routes to them."""

    channels: tuple[ChannelPolicy, ...]
    routes: tuple[Route, ...] = ()

    @property
    def asks_for_users(self) -> bool:
        """Whether any route looks at users."""
        return any(route.user or route.login_user for route in self.routes)

    def choose(self, alert: Routed) -> list[Choice]:
        """One choice for each channel, in their order."""
        taken = list(self._taken(alert))
        return [self._choice(channel, alert, taken) for channel in self.channels]

    def _choice(self, channel: ChannelPolicy, alert: Routed, taken: Sequence[int]) -> Choice:
        if alert.named is not None:
            named = channel.name in alert.named
            return Choice(channel=channel.name, sent=named, reason=NAMED if named else NOT_NAMED)
        leading = [number for number in taken if channel.name in self.routes[number].channels]
        routed = bool(self.routes) and channel.routed
        if routed and not leading:
            return Choice(channel=channel.name, sent=False, reason=f"not routed here: {_numbers(taken)}")
        if not channel.accepts(alert.severity):
            return Choice(channel=channel.name, sent=False, reason=BELOW)
        return Choice(channel=channel.name, sent=True, reason=_numbers(leading) if routed else ALL)

    def _taken(self, alert: Routed) -> Iterable[int]:
        """The numbers of the routes that an alert takes."""
        for number, route in enumerate(self.routes):
            if matches(route, alert):
                yield number
                if not route.goes_on:
                    return


def matches(route: Route, alert: Routed) -> bool:
    """Whether all conditions of a route hold."""
    return (
        (not route.severity or alert.severity in route.severity)
        and _any(route.rule, (alert.rule_id, alert.rule_title))
        and _any(route.host, (alert.host,))
        and _any(route.user, alert.users)
        and _any(route.login_user, alert.login_users)
        and _is_time(route, alert.at)
    )


def _any(patterns: Sequence[str], values: Iterable[str]) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for value in values for pattern in patterns)


def _is_time(route: Route, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(route.time_zone))
    day = local
    if (span := route.span) is not None:
        first, last = span
        now = local.time()
        if first < last:
            inside = first <= now < last
        else:
            inside = now >= first or now < last
            if now < last:
                # The night belongs to the day on which it began.
                day = local - timedelta(days=1)
        if not inside:
            return False
    return not route.weekdays or _DAYS[day.weekday()] in route.weekdays


def _numbers(routes: Sequence[int]) -> str:
    return " and ".join(f"routes[{number}]" for number in routes)
