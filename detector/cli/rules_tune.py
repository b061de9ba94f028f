"""`detector rules tune`: has a rule pass something over for good."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.parameters import TESTED, Moment
from detector.cli.rule_changes import change_options, check, own_path, said_author, said_reason, said_until, write
from detector.cli.rule_names import RuleName, bases_of, find, load, short
from detector.cli.terminal import note, say
from detector.errors import DetectorError
from detector.ruleset.folders import alone
from detector.visible import visible

if TYPE_CHECKING:
    from pathlib import Path

    from detector.config import Settings
    from detector.domain import Alert
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.evaluate import Rule
    from detector.ruleset.load import LoadedRules

# What is behind a larger alert need not be read to its end to see what it has in common.
_MOST_ROWS = 10_000


@click.command()
@click.argument("named", type=RuleName(), metavar="[RULE]", required=False)
@click.option(
    "--exclude",
    "words",
    multiple=True,
    metavar="FIELD=VALUE",
    help="What to pass over: all of several fields, any of several values of one. Takes modifiers: FIELD|cidr=VALUE.",
)
@click.option("--from-alert", "alert_id", type=ALERT_ID, metavar="ID", help="Pass over what this alert is about.")
@click.option("--since", type=Moment(), help="How far back it is looked what it would have passed over. Default: 30d.")
@click.option("--no-test", is_flag=True, help="Do not look.")
@click.option("--yes", is_flag=True, help="Do not look, and do not ask.")
@change_options
@click.pass_obj
def tune(
    settings: Settings,
    /,
    named: str | None,
    words: tuple[str, ...],
    alert_id: int | None,
    since: datetime | None,
    no_test: bool,
    yes: bool,
    reason: str | None,
    until: str,
    author: str | None,
) -> None:
    """Have a rule pass something over, for good or until a day.

    Writes a Sigma filter into your folder of rules, where it can be edited. From an alert it is the narrowest that
    covers all of it: what its rows have in common, but for what changes from one login to the next. It is shown first,
    with what it would have passed over in what is stored. Nobody is asked, and nothing looked at, without a terminal.

    \b
    Examples:
      detector rules tune horizontal_scan --exclude User=backup --exclude 'DestinationIp|cidr=10.0.0.0/8'
      detector rules tune --from-alert 12 --reason 'the backup is meant to' --until 2026-12-31
    """
    from detector.cli.comparison import compare_filter
    from detector.ruleset import exclusions

    if bool(words) == bool(alert_id):
        raise click.UsageError("say what to pass over: either --exclude FIELD=VALUE, or --from-alert ID")
    alert = None
    if alert_id is not None:
        alert, rows = _read(settings, alert_id)
        named = named or alert.rule_id
    if named is None:
        raise click.UsageError("say which rule")
    loaded = load(settings)
    entry = find(loaded, named)
    if entry.kind == "filter":
        raise DetectorError(f"{short(entry)} is a filter", hint=f"edit it: {entry.path}")
    category = _category(entry)
    if alert is None:
        try:
            selection = exclusions.from_words(words, category)
        except ValueError as fault:
            raise click.BadParameter(str(fault), param_hint="'--exclude'") from None
    else:
        selection = exclusions.from_rows(rows) if rows else exclusions.from_group(alert.group, category)
        if not selection:
            raise DetectorError(f"what is behind alert {alert_id} has nothing in common", hint="use --exclude")
    text = exclusions.filter_text(
        selection,
        rule=(entry.rule_id, entry.title),
        also=_also(loaded, entry, alert),
        category=category,
        author=said_author(author),
        reason=said_reason(reason),
        day=datetime.now(UTC).date(),
        until=said_until(until),
    )
    path = _free_path(settings, entry)
    tuned = check(settings, path, text)
    for line in text.splitlines():
        say(f"  {line}")
    if (same := _same(loaded, tuned)) is not None:
        say(f"that is passed over already: {same.path}")
        return
    if not yes and os.isatty(0):
        if not no_test:
            before, after = (_concerned(rules, entry.rule_id) for rules in (loaded, tuned))
            compare_filter(settings, before, after, since or datetime.now(UTC) - TESTED)
        click.confirm(f"write it to {visible(str(path))}?", abort=True)
    with alone(path.parent):
        path = _free_path(settings, entry)
        write(settings, path, text)
    say(f"written: {path}")


def _read(settings: Settings, alert_id: int) -> tuple[Alert, list[dict[str, object]]]:
    from detector.cli.store import stored
    from detector.store.alerts import alert_rows

    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
        rows = [dict(row) for row in alert_rows(connection, alert_id, _MOST_ROWS + 1)]
    if len(rows) > _MOST_ROWS:
        note(f"more than {_MOST_ROWS:,} rows are behind it: the filter goes by the first of them")
    return alert, rows[:_MOST_ROWS]


def _also(loaded: LoadedRules, entry: Entry, alert: Alert | None) -> dict[str, str]:
    """The other rules that saw what an alert is about: of that they would tell in place of its own."""
    if alert is None or alert.rule_id != entry.rule_id:
        return {}
    return {
        each.rule_id: each.title
        for each in loaded.entries
        if each.rule_id in alert.also_seen_by and each.rule is not None and each.rule.category == _category(entry)
    }


def _same(loaded: LoadedRules, tuned: LoadedRules) -> Entry | None:
    """A filter that is in force and passes over what the new one would, for as long: somebody was faster."""
    from detector.ruleset.catalogue import State

    known = {each.rule_id for each in loaded.entries}
    (new,) = (each for each in tuned.entries if each.rule_id not in known)
    assert new.filter is not None  # noqa: S101  it was checked
    until = new.filter.until
    for each in loaded.entries:
        if each.filter is None or each.state is not State.ACTIVE:
            continue
        as_long = each.filter.until is None or (until is not None and until <= each.filter.until)
        if as_long and all(each.content.get(name) == new.content.get(name) for name in ("logsource", "filter")):
            return each
    return None


def _concerned(loaded: LoadedRules, rule_id: str) -> list[Rule]:
    """The rule, and the correlations that count it."""
    entries = [each for each in loaded.entries if each.rule is not None]
    concerned = [
        each
        for each in entries
        if each.rule_id == rule_id or rule_id in (base.rule_id for base in bases_of(each, entries))
    ]
    return [each.rule for each in concerned if each.rule is not None]


def _category(entry: Entry) -> str:
    if entry.rule is None:
        raise DetectorError(f"{short(entry)} is {entry.state}", hint="correct its file first: detector rules check")
    return entry.rule.category


def _free_path(settings: Settings, entry: Entry) -> Path:
    """A file of the user's folder that is not there yet, named after the rule."""
    name = re.sub(r"[^a-z0-9]+", "_", entry.title.lower()).strip("_")[:60] or entry.rule_id
    number = 1
    while (path := own_path(settings, f"{name}.filter{number}.yml")).exists():
        number += 1
    return path
