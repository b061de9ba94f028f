"""`detector model`: what was learnt of each host, and which forest is in force."""

from __future__ import annotations

import click

from detector.cli.model_list import list_


@click.group()
def model() -> None:
    """Look at what was learnt of each host, and at its forests.

    \b
    Examples:
      detector model list
      detector model list --host bastion-1 --json
    """


for verb in (list_,):
    model.add_command(verb)
