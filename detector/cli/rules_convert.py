"""`detector rules convert`: the SQL that a rule became."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector.cli.rule_names import RuleName
from detector.cli.rules_test import chosen
from detector.cli.terminal import say

if TYPE_CHECKING:
    from detector.config import Settings


@click.command()
@click.argument("named", type=RuleName(), metavar="RULE|FILE")
@click.option(
    "--for",
    "database",
    type=click.Choice(["sqlite", "postgresql"]),
    help="For this database. Default: the configured one.",
)
@click.pass_obj
def convert(settings: Settings, /, named: str, database: str | None) -> None:
    """Print the SQL that a rule became, with its values.

    It finds the rows of one snapshot, or for a correlation those of a window that it counts; host, snapshot and window
    are parameters (:host_id, :seq, :end; :first_seq, :after, :until). All rules of a kind share a statement when they
    are evaluated, and of a correlation the counts are kept up; what they find is the same. Rows stand in
    `connection_counts` only for as far back as rules look.

    \b
    Examples:
      detector rules convert horizontal_scan
      detector rules convert my_rule.yml --for postgresql
    """
    from detector.ruleset.convert import converted
    from detector.store.engine import parse_url

    backend = database or parse_url(settings.database_url).get_backend_name()
    for rule in chosen(settings, named):
        say(f"-- {rule.title} ({rule.path}:{rule.line})")
        for line in converted(rule, backend).splitlines():
            say(line)
