"""`detector rules show`: all that there is to know of a rule."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detector.cli.rule_names import find, load, rule_argument
from detector.cli.terminal import local, print_json, say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.config import Settings
    from detector.domain import Telling
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.filters import Filter
    from detector.store.findings import RuleHits
    from detector.store.held import Held


@click.command()
@rule_argument
@click.option("--json", "as_json", is_flag=True, help="A JSON object, all fields.")
@click.pass_obj
def show(settings: Settings, /, named: str, as_json: bool) -> None:
    """Show a rule or a filter: what it looks at, what it passes over, what came of it, and the text of its file.

    RULE is an id or the beginning of one, a name, a title or a file.

    \b
    Examples:
      detector rules show horizontal_scan
      detector rules show 669a0dd8 --json
    """
    from detector.cli.store import stored
    from detector.store.findings import RuleHits, rule_hits
    from detector.store.held import held_of

    entry = find(load(settings), named)
    with stored(settings) as connection:
        hits = rule_hits(connection, now=datetime.now(UTC)).get(entry.rule_id, RuleHits())
        held = held_of(connection, entry.rule_id)
    text = _text(Path(entry.path))
    if as_json:
        print_json(_object(entry, hits, held, text))
        return
    for line in _lines(entry, hits, held):
        say(line)
    say("")
    say(f"{entry.path}:")
    for line in text.splitlines():
        say(f"  {line}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as fault:
        raise DetectorError(f"{path}: {fault.strerror}") from None


def _lines(entry: Entry, hits: RuleHits, held: Sequence[Held]) -> Iterator[str]:
    severity = f"{entry.severity}, " if entry.severity else ""
    yield f"{entry.title} ({severity}{entry.kind})"
    yield ""
    facts: list[tuple[str, str]] = [
        ("id", entry.rule_id),
        *([("name", entry.name)] if entry.name else []),
        ("state", f"{entry.state} {entry.why}".strip()),
        ("file", f"{entry.path}:{entry.line}"),
        ("findings", f"{hits.day} in 24 h, {hits.month} in 30 d, the last {_moment(hits.last)}"),
        *(("held back", _held(each)) for each in held),
    ]
    if entry.rule is not None or entry.filter is not None:
        from detector.ruleset.describe import described

        facts += described(entry.content)
    if entry.rule is not None:
        facts += [("passes over", _passed(each)) for each in entry.rule.filters]
        facts += _telling(entry.rule.telling)
        facts += [("false alarms", each) for each in entry.rule.false_positives]
    width = max(len(name) for name, _ in facts)
    yield from (f"{name:<{width}}  {value}" for name, value in facts)
    if entry.rule is not None and entry.rule.description:
        yield ""
        yield from entry.rule.description.splitlines()


def _held(held: Held) -> str:
    return f"{held.findings} findings ({held.incidents} incidents) on {held.host}, the last {_moment(held.end)}"


def _passed(passed: Filter) -> str:
    until = f" until {local(passed.until)}" if passed.until else ""
    return f"{passed.title} ({passed.author}{until}: {passed.reason}) {passed.path}:{passed.line}"


def _telling(telling: Telling) -> Iterator[tuple[str, str]]:
    if telling.cooldown is not None:
        yield "cooldown", str(telling.cooldown)
    if telling.channels is not None:
        yield "channels", ", ".join(telling.channels)
    if telling.burn_in:
        yield "burn-in", "while the host is being learnt" if telling.burn_in is True else str(telling.burn_in)
    if telling.explain is not None:
        yield "sentence", telling.explain


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else f"at {local(moment)}"


def _object(entry: Entry, hits: RuleHits, held: Sequence[Held], text: str) -> dict[str, Any]:
    rule = entry.rule
    return {
        "rule_id": entry.rule_id,
        "name": entry.name,
        "title": entry.title,
        "severity": entry.severity,
        "kind": entry.kind,
        "state": entry.state,
        "why": entry.why,
        "path": entry.path,
        "line": entry.line,
        "description": rule.description if rule else entry.filter.reason if entry.filter else "",
        "false_positives": list(rule.false_positives) if rule else [],
        "filters": [asdict(each) for each in rule.filters] if rule else [],
        "hits_24h": hits.day,
        "hits_30d": hits.month,
        "last_hit": hits.last,
        "held_back": [asdict(each) for each in held],
        "text": text,
    }
