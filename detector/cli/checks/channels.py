"""The channels: whether they are understood, what waits for them, and what mutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.amounts import numbered
from detector.cli.checks import endings
from detector.cli.checks.check import bad, doubtful, good
from detector.cli.terminal import local
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.cli.checks.check import Check
    from detector.config import Settings

# What waits for longer is neither a retry nor a limit that was reached for a moment.
_LONG = timedelta(minutes=10)


def channels(settings: Settings) -> Iterator[Check]:
    """Whether each could be sent to, and the heartbeat."""
    from detector.notify.channels import open_channel

    names = []
    for channel in settings.channels:
        try:
            open_channel(channel, settings)
        except DetectorError as fault:
            yield bad("channels", fault.message, fault.hint)
        else:
            names.append(channel.name)
    if names:
        yield good("channels", f"{', '.join(names)}: understood; try them with: detector notify test")
    elif not settings.channels:
        yield doubtful(
            "channels",
            "none is configured: alerts reach nobody who is not at this terminal",
            "add [[channels]] to the configuration",
        )
    try:
        if settings.heartbeat.address:
            yield good("heartbeat", f"is sent every {settings.heartbeat.interval_seconds:.0f} s")
    except DetectorError as fault:
        yield bad("heartbeat", fault.message, fault.hint)


def templates(settings: Settings) -> Iterator[Check]:
    """Whether the operator's own are in force."""
    from detector.service.messages import read_templates

    found = read_templates(settings.template_folder)
    for fault in found.faults:
        yield bad("templates", f"{fault} (what ships stands in its place)", "mend it; see: detector notify preview")
    if found.own:
        yield good("templates", f"{', '.join(found.own)} of {settings.template_folder} in force")


def outbox(settings: Settings) -> Iterator[Check]:
    """What is undelivered, by channel."""
    from detector.cli.store import stored
    from detector.store.deliveries import channel_standings

    now = datetime.now(UTC)
    with stored(settings) as connection:
        standings = channel_standings(connection, now)
    for channel in standings.values():
        if channel.dead:
            yield bad(
                "outbox",
                f"{numbered(channel.dead, 'notification')} to {channel.channel} were given up, the last one for: "
                f"{channel.last_error}",
                f"mend it, try it: detector notify test {channel.channel}; then: detector notify resend --dead",
            )
        if channel.waiting_since is not None and now - channel.waiting_since > _LONG:
            yield doubtful(
                "outbox",
                f"{numbered(channel.waiting, 'notification')} to {channel.channel} wait since "
                f"{local(channel.waiting_since)}; its last failure: {channel.last_error or 'none'}",
                "see: detector notify status; if nothing is tried, start detector detect",
            )
        if channel.without_chart:
            yield doubtful(
                "outbox",
                f"{numbered(channel.without_chart, 'message')} to {channel.channel} went without a chart, the last one "
                f"since: {channel.last_chart_fault}",
                "see: detector notify preview",
            )
    if not any(channel.dead or channel.waiting for channel in standings.values()):
        yield good("outbox", "nothing waits, and nothing was given up")


def silences(settings: Settings) -> Iterator[Check]:
    """Those that end soon."""
    from detector.cli.store import stored
    from detector.store.alert_silences import list_silences

    now = datetime.now(UTC)
    with stored(settings) as connection:
        muting = list_silences(connection, ending_after=now)
    for finding, remedy in endings.silences(muting, now):
        yield doubtful("silences", finding, remedy)
