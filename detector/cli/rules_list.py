"""`detector rules list`: all that stands in the rule files, and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detector.cli.rule_names import load
from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, note, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.config import Settings
    from detector.ruleset.catalogue import Entry
    from detector.store.findings import RuleHits


@click.command("list")
@click.option("--cost", is_flag=True, help="Look at the newest snapshot with each rule, and say how long that takes.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields.")
@click.pass_obj
def list_(settings: Settings, /, cost: bool, as_json: bool) -> None:
    """List the rules and filters, the most severe first, with their state and how often each matched.

    \b
    States:
      active             in force
      for correlations   in force, reports nothing by itself
      waiting for list   matches nothing before somebody fills the list that is named
      disabled           reports nothing: see `detector rules enable`
      replaced           a rule of the same id in a folder that is named later has its place
      refused            its file has faults, which are named on standard error
      ended              a filter past its end

    Matches are those of all hosts in the last 24 hours and 30 days. A running detect keeps the last good version of a
    refused file in force. What rules with new_terms or baseline cost is not measured: looking would change what they
    remember.

    \b
    Examples:
      detector rules list
      detector rules list --cost --json
    """
    from detector.cli.store import stored
    from detector.ruleset.cost import costs
    from detector.store.findings import RuleHits, newest_detected, rule_hits

    loaded = load(settings)
    with stored(settings) as connection:
        hits = rule_hits(connection, now=datetime.now(UTC))
        newest = newest_detected(connection) if cost else None
        took = {} if newest is None else costs(connection, newest, loaded.ruleset.rules)
    found = sorted(loaded.entries, key=_order)
    counted = [(entry, hits.get(entry.rule_id, RuleHits())) for entry in found]
    if cost and newest is None:
        note("no snapshot was detected yet: there is nothing to measure with")
    if as_json:
        print_json(
            [_object(entry, hit) | ({"cost_ms": took.get(entry.rule_id)} if cost else {}) for entry, hit in counted]
        )
    elif counted:
        _print(counted, took if cost else None)
    else:
        note("no rules are in force")
    for fault in loaded.faults:
        note(str(fault))
    if refused := len({fault.path for fault in loaded.faults}):
        note(f"not in force: {refused} {'file' if refused == 1 else 'files'}, because of the faults above")


def _order(entry: Entry) -> tuple[Any, ...]:
    rank = -1 if entry.severity is None else entry.severity.rank
    return entry.kind == "filter", -rank, entry.title, entry.rule_id, entry.path


def _object(entry: Entry, hit: RuleHits) -> dict[str, Any]:
    rule = entry.rule
    return {
        "rule_id": entry.rule_id,
        "name": entry.name,
        "title": entry.title,
        "severity": entry.severity,
        "kind": entry.kind,
        "state": entry.state,
        "why": entry.why,
        "produces_findings": rule is not None and rule.produces_findings,
        "description": rule.description if rule else entry.filter.reason if entry.filter else "",
        "path": entry.path,
        "line": entry.line,
        "hits_24h": hit.day,
        "hits_30d": hit.month,
        "last_hit": hit.last,
    }


def _print(counted: Sequence[tuple[Entry, RuleHits]], took: Mapping[str, float] | None) -> None:
    columns = [
        Column("severity"),
        Column("rule", fold=True),
        Column("kind"),
        Column("state", fold=True),
        Column("24 h", align="right"),
        Column("30 d", align="right"),
        Column("last", fold=True),
        *([] if took is None else [Column("ms", align="right")]),
        Column("file", fold=True),
    ]
    rows = []
    for entry, hit in counted:
        cost = took.get(entry.rule_id) if took is not None else None
        rows.append(
            (
                entry.severity.value if entry.severity else "-",
                entry.title,
                entry.kind,
                f"{entry.state} {entry.why}".strip() if entry.state != "refused" else entry.state,
                str(hit.day),
                str(hit.month),
                "-" if hit.last is None else local(hit.last)[: len("2026-11-20 14:00")],
                *([] if took is None else ["-" if cost is None else f"{cost:.1f}"]),
                _place(entry),
            )
        )
    print_table(columns, rows)


def _place(entry: Entry) -> str:
    return f"{Path(entry.path)}:{entry.line}"
