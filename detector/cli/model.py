"""`detector model`: what was learnt of each host, and which forest is in force."""

from __future__ import annotations

import click

from detector.cli.model_feedback import feedback
from detector.cli.model_list import list_
from detector.cli.model_status import status


@click.group()
def model() -> None:
    """Look at what was learnt of each host, and at its forests.

    \b
    Examples:
      detector model status
      detector model list
      detector model list --host bastion-1 --json
    """


for verb in (feedback, list_, status):
    model.add_command(verb)
