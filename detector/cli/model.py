"""`detector model`: what was learnt of each host, which forest is in force, and why rows are strange."""

from __future__ import annotations

import click

from detector.cli.model_explain import explain
from detector.cli.model_list import list_
from detector.cli.model_rollback import rollback
from detector.cli.model_train import train


@click.group()
def model() -> None:
    """Look at what was learnt of each host, and at its forests.

    \b
    Examples:
      detector model list
      detector model train --host bastion-1
      detector model rollback --host bastion-1
      detector model explain --alert 12
    """


for verb in (list_, train, rollback, explain):
    model.add_command(verb)
