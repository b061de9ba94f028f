"""`detector rules`: which rules are in force, what is wrong with rule files, and what to change about them."""

from __future__ import annotations

import click

from detector.cli.rules_check import check
from detector.cli.rules_convert import convert
from detector.cli.rules_edit import edit
from detector.cli.rules_explain import explain
from detector.cli.rules_list import list_
from detector.cli.rules_new import new
from detector.cli.rules_show import show
from detector.cli.rules_switch import disable, enable
from detector.cli.rules_test import test
from detector.cli.rules_tune import tune
from detector.cli.rules_versions import diff, rollback
from detector.cli.verbs import Verbs


@click.group(cls=Verbs)
def rules() -> None:
    """List, check and tune the rules.

    RULE is the id of a rule, the beginning of it, its name, its title or its file.

    \b
    Examples:
      detector rules list
      detector rules show horizontal_scan
      detector rules tune horizontal_scan --exclude User=backup --reason 'it is meant to'
    """


for verb in (list_, show, check, enable, disable, tune, test, edit, new, diff, rollback, explain, convert):
    rules.add_command(verb)
