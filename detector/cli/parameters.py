"""Values on the command line: each is checked where it is written, and a bad one refused with what would be right."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import click

from detector.cli.when import parse_moment, parse_period

LIMIT = click.IntRange(1, 1_000_000)
"""How many rows are asked for: all are held in memory until they are printed."""

TESTED = timedelta(days=30)
"""How far back rules are tested, if nobody says."""

_MAX_PORT = 65_535
_LONGEST_NAME = 255
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_DURATION = re.compile(r"([0-9]{1,4})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """A time (see `when`); gives an aware datetime."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parses against the present."""
        try:
            return parse_moment(value, datetime.now(UTC))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


class Period(click.ParamType[tuple[datetime | None, datetime | None]]):
    """A time from one moment to another (see `when`); None: from the beginning, or to the end."""

    name = "start..end|day|span"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[datetime | None, datetime | None]:
        """Parses against the present."""
        try:
            return parse_period(value, datetime.now(UTC))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


class Span(click.ParamType[timedelta]):
    """A length of time: 30s, 5m, 2h; from a second to a day."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Whole seconds."""
        written = _SPAN.fullmatch(value.strip())
        span = timedelta(**{_UNITS[written[2]]: int(written[1])}) if written else timedelta(0)
        if not timedelta(seconds=1) <= span <= timedelta(days=1):
            self.fail(f"{value!r} is not a span of a second to a day; write 60s, 5m or 1h", param, ctx)
        return span


class Duration(click.ParamType[timedelta]):
    """How long something lasts: 30m, 2h, 7d, 2w; at most four digits."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Whole seconds."""
        written = _DURATION.fullmatch(value.strip())
        if written is None or not int(written[1]):
            self.fail(f"{value!r} is not a length of time; write 30m, 2h, 7d or 2w", param, ctx)
        return timedelta(**{_UNITS[written[2]]: int(written[1])})


class HostName(click.ParamType[str]):
    """The name that a host is stored under."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Anything that prints, up to 255 characters."""
        text = str(value)
        if not (text.strip() and text.isprintable() and len(text) <= _LONGEST_NAME):
            self.fail(f"{value!r} is not a name; write up to {_LONGEST_NAME} characters that print", param, ctx)
        return text


class Network(click.ParamType[IPv4Network | IPv6Network]):
    """An address or a network in CIDR notation; gives a network."""

    name = "address|cidr"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        """Bits beyond the prefix are ignored: 10.1.2.3/8 is 10.0.0.0/8."""
        try:
            return ip_network(value, strict=False)
        except ValueError:
            self.fail(f"{value!r} is not an address or network; write 10.0.4.12, 10.0.0.0/8 or fd00::/8", param, ctx)


class Ports(click.ParamType[tuple[range, ...]]):
    """Ports and spans of ports; gives a range for each."""

    name = "port[,port|from-to]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[range, ...]:
        """`22,80,8000-8080`."""
        return tuple(self._range(part, param, ctx) for part in value.split(","))

    def _range(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> range:
        low, dash, high = text.strip().partition("-")
        numbers = [low, high] if dash else [low]
        if not all(number.isascii() and number.isdecimal() and int(number) <= _MAX_PORT for number in numbers):
            self.fail(f"{text!r} is not a port (0 to {_MAX_PORT}); write 22, 22,80 or 8000-8080", param, ctx)
        if int(numbers[-1]) < int(low):
            self.fail(f"{text!r} ends before it begins; write {high}-{low}", param, ctx)
        return range(int(low), int(numbers[-1]) + 1)


def check_period(since: datetime | None, until: datetime | None) -> None:
    """Refuses a period that ends before it begins."""
    if since is not None and until is not None and since >= until:
        raise click.BadParameter("it is not before --until", param_hint="'--since'")
