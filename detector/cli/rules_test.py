"""`detector rules test`: what a rule would have found in what is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.parameters import LIMIT, TESTED, Moment
from detector.cli.rule_names import RuleName, find, load, short
from detector.cli.terminal import note, print_json, say
from detector.errors import DetectorError, RuleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.config import Settings
    from detector.ruleset.evaluate import Rule


@click.command()
@click.argument("named", type=RuleName(), metavar="RULE|FILE")
@click.option("--since", type=Moment(), help="What ended after: 7d, 2h, 2026-11-20. Default: 30d.")
@click.option("--until", type=Moment(), help="What ended by then.")
@click.option("--host", metavar="NAME", help="Only this host, or those that match: 'web-*'.")
@click.option(
    "--snapshots",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Look at these rows, in place of the database: one object a line, as of query --json.",
)
@click.option("--limit", type=LIMIT, default=10, show_default=True, help="The largest alerts shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, an object for each rule, times in UTC.")
@click.pass_obj
def test(
    settings: Settings,
    /,
    named: str,
    since: datetime | None,
    until: datetime | None,
    host: str | None,
    snapshots: Path | None,
    limit: int,
    as_json: bool,
) -> None:
    """Say what a rule would have found in what is stored: how many findings and alerts, when, who and where.

    RULE is an id or the beginning of one, a name, a title or a file; a FILE need not be among those in force. Scores
    are those that were stored, or that stand in the file. A rule that only feeds correlations is tested by itself.

    \b
    Examples:
      detector rules test horizontal_scan
      detector rules test odd-port.yml --since 7d --host 'web-*'
      detector rules test odd-port.yml --snapshots incident.jsonl
      detector rules test first_contact --since 2026-11-01 --until 2026-11-08 --json
    """
    from detector.cli import backtests
    from detector.service.recorded import recorded
    from detector.service.replaying import Wanted

    rules = chosen(settings, named)
    usual = None if snapshots else datetime.now(UTC) - TESTED
    wanted = Wanted(since=since or usual, until=until, host=host)
    with recorded(snapshots) if snapshots else backtests.opened(settings) as engine:
        found = [(rule, backtests.run(engine, settings, rule, wanted, watched=not snapshots)) for rule in rules]
    if as_json:
        print_json([backtests.as_object(rule, result, wanted, limit) for rule, result in found])
        return
    for number, (rule, result) in enumerate(found):
        if number:
            say("")
        backtests.print_result(rule, result, wanted, limit)
        if not rule.produces_findings:
            note("it reports nothing by itself: it is disabled, or feeds correlations")


def chosen(settings: Settings, named: str) -> Sequence[Rule]:
    """The rule of that name, or those of a file: what reports among them, if anything does.

    Raises:
        DetectorError: there is none.
        RuleError: what is wrong with it.
    """
    from detector.ruleset.load import load_rules

    path = Path(named)
    if path.suffix == ".yml" and path.is_file():
        loaded = load_rules(settings.rule_folders, checked=[path], channels=settings.channel_names)
        if faults := tuple(fault for fault in loaded.faults if _same(fault.path, path)):
            raise RuleError(faults)
        rules = [rule for rule in loaded.ruleset.rules if _same(rule.path, path)]
        if not rules:
            raise DetectorError(f"{path} holds no rule", hint="name a rule, or a file of one")
        return [rule for rule in rules if rule.produces_findings] or rules
    entry = find(load(settings), named)
    if entry.rule is None:
        raise DetectorError(f"{short(entry)} is {entry.state}", hint="see: detector rules check")
    return [entry.rule]


def _same(one: str, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()
