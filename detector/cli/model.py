"""`detector model`: what was learnt of each host, which forest is in force, and why rows are strange."""

from __future__ import annotations

import click

from detector.cli.model_explain import explain
from detector.cli.model_feedback import feedback
from detector.cli.model_list import list_
from detector.cli.model_review import review
from detector.cli.model_rollback import rollback
from detector.cli.model_status import status
from detector.cli.model_train import train
from detector.cli.verbs import Verbs


@click.group(cls=Verbs)
def model() -> None:
    """Look at what was learnt of each host, and at its forests.

    \b
    Examples:
      detector model status
      detector model list
      detector model train --host bastion-1
      detector model rollback --host bastion-1
      detector model explain --alert 12
    """


for verb in (status, review, explain, list_, train, rollback, feedback):
    model.add_command(verb)
