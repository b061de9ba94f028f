"""`detector rules`: which rules are in force, and what is wrong with rule files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.rules_edit import edit
from detector.cli.rules_test import test
from detector.cli.terminal import Column, note, print_json, print_table, say
from detector.errors import RuleError

if TYPE_CHECKING:
    from detector.config import Settings


@click.group()
def rules() -> None:
    """List the rules in force, and check rule files.

    \b
    Examples:
      detector rules list
      detector rules check my-rules/
    """


@rules.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields.")
@click.pass_obj
def list_(settings: Settings, /, as_json: bool) -> None:
    """List the rules in force, the most severe first, with how often each matched.

    Matches are those of all hosts in the last 24 hours and 30 days. A rule "for correlations" reports nothing by
    itself. A file with a fault is not in force: it is named on standard error.

    \b
    Examples:
      detector rules list
      detector rules list --json
    """
    from detector.cli.store import stored
    from detector.ruleset.load import load_rules
    from detector.store.findings import RuleHits, rule_hits

    with stored(settings) as connection:
        hits = rule_hits(connection, now=datetime.now(UTC))
    loaded = load_rules(settings.rule_folders)
    found = sorted(loaded.ruleset.rules, key=lambda rule: (-rule.severity.rank, rule.title, rule.rule_id))
    counted = [(rule, hits.get(rule.rule_id, RuleHits())) for rule in found]
    if as_json:
        print_json(
            [
                {
                    "rule_id": rule.rule_id,
                    "title": rule.title,
                    "severity": rule.severity,
                    "kind": rule.kind,
                    "produces_findings": rule.produces_findings,
                    "description": rule.description,
                    "path": rule.path,
                    "line": rule.line,
                    "hits_24h": hit.day,
                    "hits_30d": hit.month,
                }
                for rule, hit in counted
            ]
        )
    elif counted:
        columns = (
            Column("severity"),
            Column("rule", fold=True),
            Column("kind", fold=True),
            Column("24 h", align="right"),
            Column("30 d", align="right"),
            Column("file", fold=True),
        )
        print_table(
            columns,
            (
                (
                    rule.severity.value,
                    rule.title,
                    rule.kind if rule.produces_findings else f"{rule.kind}, for correlations",
                    str(hit.day),
                    str(hit.month),
                    f"{rule.path}:{rule.line}",
                )
                for rule, hit in counted
            ),
        )
    else:
        note("no rules are in force")
    for fault in loaded.faults:
        note(str(fault))
    if refused := len({fault.path for fault in loaded.faults}):
        note(f"not in force: {refused} {'file' if refused == 1 else 'files'}, because of the faults above")


@rules.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH]...")
@click.option("--json", "as_json", is_flag=True, help="The faults as a JSON list of objects: path, line, message.")
@click.pass_obj
def check(settings: Settings, /, paths: tuple[Path, ...], as_json: bool) -> None:
    """Check rule files, and say all that is wrong with them.

    PATH is a rule file or a folder of them; without any, the configured folders are checked. What a correlation counts
    must be among them. Each fault is a line, `path:line: what is wrong; what to write instead`, and makes the exit
    code 65.

    \b
    Examples:
      detector rules check
      detector rules check my-rules/ odd-port.yml
    """
    from detector.ruleset.load import load_rules

    loaded = load_rules(paths or settings.rule_folders)
    if as_json:
        print_json([{"path": each.path, "line": each.line, "message": each.message} for each in loaded.faults])
    if loaded.faults:
        raise RuleError(loaded.faults)
    if not as_json:
        number = len(loaded.ruleset.rules)
        say(f"{number} {'rule' if number == 1 else 'rules'}, no faults")


for verb in (test, edit):
    rules.add_command(verb)
