"""The channels of a configuration, ready to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.notify.console import ConsoleNotifier

if TYPE_CHECKING:
    from typing import TextIO

    from detector.config import Channel, Settings
    from detector.notify.outbox import Notifier

CONSOLE = "console"
"""The name of the channel that `notify.console` switches; no other can have it."""


def open_channels(settings: Settings, console: TextIO) -> dict[str, Notifier]:
    """A notifier for each configured channel, by name; the console among them if it is switched on.

    Raises:
        ConfigError: an address that cannot be read or understood, by the name of its channel.
    """
    opened: dict[str, Notifier] = {CONSOLE: ConsoleNotifier(console)} if settings.notify.console else {}
    for channel in settings.channels:
        opened[channel.name] = open_channel(channel, settings)
    return opened


def open_channel(channel: Channel, settings: Settings) -> Notifier:
    """The notifier of a configured channel.

    Raises:
        ConfigError: its address cannot be read or understood, by its name.
    """
    # Imported here: with no channel but the console, apprise is not loaded.
    from detector.notify.apprise_notifier import AppriseNotifier

    return AppriseNotifier(channel.name, channel.address, settings.notify.timeout_seconds)
