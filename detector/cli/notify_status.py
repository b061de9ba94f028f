"""`detector notify status`: how each channel stands."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import numbered
from detector.cli.store import stored
from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, print_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector.config import Settings
    from detector.store.deliveries import ChannelStanding


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, times in UTC.")
@click.pass_obj
def status(settings: Settings, /, *, as_json: bool) -> None:
    """Show what waits for each channel, what was given up, and what it last took or refused.

    "sent" is how many messages it took in the last minute and hour, of as many as it may be sent. What is dead was
    given up: `detector notify resend` sends it once more.

    \b
    Examples:
      detector notify status
      detector notify status --json | jq '.[] | select(.dead > 0) | .channel'
    """
    from detector.store.deliveries import channel_standings

    with stored(settings) as connection:
        found = channel_standings(connection, datetime.now(UTC))
    channels = [_described(name, found.get(name), limits) for name, limits in _all(settings, found).items()]
    if as_json:
        print_json(channels)
    elif channels:
        _print(channels)
    else:
        say("no channel is configured, and nothing was ever sent")


def _all(settings: Settings, found: Mapping[str, ChannelStanding]) -> dict[str, tuple[int, int] | None]:
    """The limits of each channel: those that are configured, in their order, then those that once were (None)."""
    known: dict[str, tuple[int, int] | None] = {
        channel.name: (channel.messages_per_minute, channel.messages_per_hour) for channel in settings.channels
    }
    if settings.notify.console:
        known["console"] = (0, 0)
    return known | {name: None for name in sorted(found) if name not in known}


def _described(name: str, standing: ChannelStanding | None, limits: tuple[int, int] | None) -> dict[str, Any]:
    from detector.store.deliveries import ChannelStanding

    standing = standing or ChannelStanding(channel=name)
    per_minute, per_hour = limits or (0, 0)
    return {
        **asdict(standing),
        "configured": limits is not None,
        "messages_per_minute": per_minute,
        "messages_per_hour": per_hour,
    }


def _print(channels: list[dict[str, Any]]) -> None:
    columns = (
        Column("channel", fold=True),
        Column("waiting", align="right"),
        Column("since"),
        Column("dead", align="right"),
        Column("last taken"),
        Column("sent", fold=True),
        Column("last failed"),
        Column("last error", below=True),
    )
    print_table(
        columns,
        [
            (
                each["channel"] + ("" if each["configured"] else " (not configured)"),
                str(each["waiting"]) + (f" ({each['under_way']} under way)" if each["under_way"] else ""),
                _when(each["waiting_since"]),
                str(each["dead"]),
                _when(each["last_delivered_at"]),
                _rates(each),
                _when(each["last_failed_at"]),
                each["last_error"] or "-",
            )
            for each in channels
        ],
    )
    for each in channels:
        if each["without_chart"]:
            number = numbered(each["without_chart"], "message")
            say("")
            say(f"{each['channel']}: {number} without a chart, the last time since: {each['last_chart_fault']}")
    if any(each["dead"] for each in channels):
        say("")
        say("Once the channel works again (detector notify test): detector notify resend --dead")


def _rates(channel: dict[str, Any]) -> str:
    per_minute = _of(channel["messages_last_minute"], channel["messages_per_minute"])
    per_hour = _of(channel["messages_last_hour"], channel["messages_per_hour"])
    return f"{per_minute}/min, {per_hour}/h"


def _of(sent: int, limit: int) -> str:
    return f"{sent} of {limit}" if limit else str(sent)


def _when(moment: datetime | None) -> str:
    return "-" if moment is None else local(moment)
