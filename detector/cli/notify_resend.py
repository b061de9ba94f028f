"""`detector notify resend`: notifications that are sent once more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.amounts import numbered
from detector.cli.terminal import say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector.config import Settings


@click.command()
@click.argument("numbers", nargs=-1, type=click.IntRange(1, 2**63 - 1), metavar="[NOTIFICATION]...")
@click.option("--channel", metavar="NAME", help="All that wait for this channel, or are dead.")
@click.option("--dead", is_flag=True, help="Only what was given up; of all channels, unless one is named.")
@click.pass_obj
def resend(settings: Settings, /, numbers: tuple[int, ...], channel: str | None, *, dead: bool) -> None:
    """Send notifications once more.

    What was given up, or was delivered and is named by its number (see `detector alerts show`), is put into the outbox
    again; what waits for its next attempt is tried at once. The running `detector detect` sends it, in the old order.
    What is under way at this moment is left alone.

    \b
    Examples:
      detector notify resend --dead
      detector notify resend --channel operators
      detector notify resend 4711 4712
    """
    from detector.store.deliveries import channel_standings, known_ids
    from detector.store.deliveries import resend as send_again
    from detector.store.engine import open_store, writing
    from detector.store.migrating import check_current

    if not (numbers or channel or dead):
        raise click.UsageError("say which: numbers of notifications, --channel NAME, or --dead")
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        with writing(engine) as connection:
            if channel is not None:
                _check_is_known(channel, settings, channel_standings(connection, datetime.now(UTC)))
            missing = sorted(set(numbers) - known_ids(connection, numbers))
            if missing:
                raise DetectorError(
                    f"there is no notification {', '.join(map(str, missing))}", hint="see: detector alerts show ALERT"
                )
            done = send_again(connection, now=datetime.now(UTC), notification_ids=numbers, channel=channel, dead=dead)
    finally:
        engine.dispose()
    if not (done.again or done.at_once):
        say("there is nothing to be sent once more: see detector notify status")
        return
    again = numbered(done.again, "notification")
    say(f"{again} sent once more, {done.at_once} tried at once: see detector notify status")


def _check_is_known(channel: str, settings: Settings, found: Iterable[str]) -> None:
    """Also one that was configured once may have something that waits."""
    known = [*sorted(settings.channel_names), *sorted(found)]
    if channel not in known:
        there = ", ".join(dict.fromkeys(known))
        raise click.BadParameter(f"there is no channel {channel!r}; there is {there}", param_hint="'--channel'")
