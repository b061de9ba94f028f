"""`detector notify test`: whether alerts would arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector.amounts import numbered
from detector.cli.terminal import say
from detector.errors import ConfigError, DeliveryError

if TYPE_CHECKING:
    from detector.config import Channel, Settings


@click.command()
@click.argument("names", nargs=-1, metavar="[CHANNEL]...")
@click.pass_obj
def test(settings: Settings, /, names: tuple[str, ...]) -> None:
    """Send a message, marked as a test, through each configured channel.

    It goes out at once, once, and says for each channel whether it was delivered. The exit code is 1 if any was not.

    \b
    Examples:
      detector notify test
      detector notify test slack mail
    """
    from detector.notify.apprise_notifier import AppriseNotifier
    from detector.notify.message import trial

    chosen = _chosen(settings.channels, names)
    failed = []
    for channel in chosen:
        try:
            notifier = AppriseNotifier(channel.name, channel.address, settings.notify.timeout_seconds)
            notifier.send(trial(channel.name, settings.host_name))
        except (ConfigError, DeliveryError) as fault:
            failed.append(channel.name)
            say(f"{channel.name}: not delivered: {fault.message.removeprefix(f'channel {channel.name!r}: ')}")
            for line in fault.hint.splitlines():
                say(f"  {line}")
        else:
            say(f"{channel.name}: delivered")
    if failed:
        raise DeliveryError(
            f"{len(failed)} of {numbered(len(chosen), 'channel')} did not take the message: {', '.join(failed)}"
        )


def _chosen(channels: tuple[Channel, ...], names: tuple[str, ...]) -> list[Channel]:
    if not channels:
        raise ConfigError("no channels are configured", hint="add a [[channels]] table; see docs/configuration.md")
    known = {channel.name: channel for channel in channels}
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no channel {name!r}; there is {', '.join(known)}", param_hint="CHANNEL")
    return [known[name] for name in dict.fromkeys(names)] if names else list(channels)
