"""The options that say what to look for in the past; the same of each verb that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import Moment, Network, Ports, check_period
from detector.domain import Direction, Outcome, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.store.filters import HistoryFilter

_PERIOD = (
    click.option("--since", type=Moment(), help="Only what came after: 7d, yesterday, 14:00, '2026-11-20 14:00'."),
    click.option("--until", type=Moment(), help="Only what came before, written as for --since."),
)
_HOST = click.option("--host", metavar="PATTERN", help="Only of hosts with this name.")
_KEYS = (
    click.option("--user", metavar="PATTERN", help="Only by processes that ran as this account."),
    click.option(
        "--login-user", metavar="PATTERN", help="Only by who logged in as this account, whatever sudo made of it."
    ),
    click.option(
        "--login-from", "login_addresses", type=Network(), help="Only by who logged in from this address or network."
    ),
    click.option("--exe", "executable", metavar="PATTERN", help="Only by programs with this path."),
    click.option(
        "--parent", "parent_executable", metavar="PATTERN", help="Only by what programs with this path started."
    ),
)
_ADDRESSES = ("remote_addresses", "Only with this address or network at the other end.")
_OTHERS = (
    click.option("--name", "remote_name", metavar="PATTERN", help="Only with what was looked up under this name."),
    click.option("--port", "ports", type=Ports(), help="Only to these ports; inbound: only at them."),
    click.option("--direction", type=click.Choice([each.value for each in Direction]), help="Only this way."),
    click.option("--protocol", type=click.Choice([each.value for each in Protocol]), help="Only by this protocol."),
    click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="Only rows with such an end."),
    click.option("--min-score", type=click.FloatRange(0, 1), help="Only what is at least this strange, 0 to 1."),
)


def period_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--since`, `--until` and `--host`."""
    return _with(command, *_PERIOD, _HOST)


def filter_options(address: str, *, period: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """All that narrows, the period among it.

    Args:
        address: how the option for the remote address is called.
        period: whether there are `--since` and `--until`.
    """
    name, words = _ADDRESSES
    to = click.option(address, name, type=Network(), help=words)
    first = (*_PERIOD, _HOST) if period else (_HOST,)
    return lambda command: _with(command, *first, *_KEYS, to, *_OTHERS)


def wanted_by(criteria: dict[str, Any]) -> HistoryFilter:
    """The filter that the options mean."""
    from detector.store.filters import HistoryFilter

    check_period(criteria.get("since"), criteria.get("until"))
    values = {**criteria, "ports": criteria["ports"] or ()}
    for name, kind in (("direction", Direction), ("protocol", Protocol), ("outcome", Outcome)):
        values[name] = kind(values[name]) if values[name] else None
    return HistoryFilter(**values)


def _with(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
