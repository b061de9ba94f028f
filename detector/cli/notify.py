"""`detector notify`: the channels that alerts are sent to, and what waits for them."""

from __future__ import annotations

import click

from detector.cli.notify_digest import digest
from detector.cli.notify_preview import preview
from detector.cli.notify_resend import resend
from detector.cli.notify_route import route
from detector.cli.notify_status import status
from detector.cli.notify_test import test
from detector.cli.verbs import Verbs


@click.group(cls=Verbs)
def notify() -> None:
    """Try the channels that alerts are sent to, and see what waits for them.

    \b
    Examples:
      detector notify test
      detector notify preview
      detector notify status
      detector notify route 12
      detector notify resend --dead
      detector notify digest --since 7d
    """


for verb in (test, preview, status, route, resend, digest):
    notify.add_command(verb)
