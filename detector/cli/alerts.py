"""`detector alerts`: what was found, why, and what people answer."""

from __future__ import annotations

import click

from detector.cli.alerts_answer import ack, note, resolve
from detector.cli.alerts_benign import benign
from detector.cli.alerts_list import list_
from detector.cli.alerts_show import show
from detector.cli.alerts_silence import silence
from detector.cli.alerts_watch import watch
from detector.cli.verbs import Verbs


@click.group(cls=Verbs)
def alerts() -> None:
    """List alerts, show one with all that is behind it, and answer it.

    \b
    Examples:
      detector alerts list --open
      detector alerts show 12
      detector alerts ack 12
      detector alerts silence 12 --for 7d --reason 'the migration'
      detector alerts benign 12 --reason 'the backup is meant to'
    """


for verb in (list_, show, watch, ack, resolve, note, silence, benign):
    alerts.add_command(verb)
