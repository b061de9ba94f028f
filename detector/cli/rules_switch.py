"""`detector rules enable` and `disable`: which rules report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.cli.rule_changes import change_options, own_path, remove, said_author, said_reason, said_until, write
from detector.cli.rule_names import find, load, rule_argument, short
from detector.cli.terminal import note, say
from detector.errors import RuleError
from detector.ruleset.folders import alone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from detector.config import Settings
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.documents import Document


@click.command()
@rule_argument
@change_options
@click.pass_obj
def disable(settings: Settings, /, named: str, reason: str | None, until: str, author: str | None) -> None:
    """Have a rule report nothing, until a day or until it is enabled.

    Is written to disabled.yml in your folder of rules. A base rule still feeds the correlations that count it.

    \b
    Examples:
      detector rules disable horizontal_scan --reason 'the inventory scan' --until 2026-12-31
    """
    from detector.ruleset.disabled import FILE

    entry = find(load(settings), named)
    path = own_path(settings, FILE)
    said = {"author": said_author(author), "reason": said_reason(reason), "until": said_until(until)}
    with alone(path.parent):
        write(settings, path, _with_entry(path, entry, said))
    say(f"disabled: {short(entry)}{f', until {until}' if until else ''}")
    if entry.state == "for correlations":
        note("it reported nothing by itself, and still feeds its correlations: to have no alerts, disable these")


@click.command()
@rule_argument
@click.pass_obj
def enable(settings: Settings, /, named: str) -> None:
    """Have a disabled rule report again.

    \b
    Examples:
      detector rules enable horizontal_scan
    """
    from detector.ruleset.disabled import FILE

    entry = find(load(settings), named)
    folders = [
        folder for folder in reversed(settings.rule_folders) if _number(folder / FILE, entry.rule_id) is not None
    ]
    if not folders:
        note(f"{short(entry)} is not disabled; it is {entry.state}")
        return
    path = folders[0] / FILE
    with alone(path.parent):
        if left := _without_entry(path, entry.rule_id):
            write(settings, path, left)
        else:
            remove(settings, path)
    say(f"enabled: {short(entry)}; its entry in {path} is gone")


def _with_entry(path: Path, entry: Entry, said: Mapping[str, str]) -> str:
    """The text of the list at `path` with an entry for a rule, in the place of one that is there."""
    from detector.ruleset import disabled_file

    text = _without_entry(path, entry.rule_id)
    return disabled_file.with_entry(
        text,
        _document(path, text),
        rule_id=entry.rule_id,
        title=entry.title,
        day=datetime.now(UTC).date(),
        **said,
    )


def _without_entry(path: Path, rule_id: str) -> str:
    """The text of the list at `path` without a rule; empty when nothing is left."""
    from detector.ruleset import disabled_file

    text, document = _read(path)
    number = _number(path, rule_id)
    return text if document is None or number is None else disabled_file.without_entry(text, document, number)


def _number(path: Path, rule_id: str) -> int | None:
    """Which entry of the list at `path` names a rule, whether or not it has ended."""
    from detector.ruleset.disabled import KEY

    _, document = _read(path)
    entries = document.content[KEY] if document is not None else ()
    ids = [str(each["id"]).lower() for each in entries]
    return ids.index(rule_id) if rule_id in ids else None


def _read(path: Path) -> tuple[str, Document | None]:
    """The text of a list that is there, and what it says.

    Raises:
        RuleError: it has faults, which are to be corrected first.
    """
    if not path.exists():
        return "", None
    text = path.read_text(encoding="utf-8", errors="replace")
    return text, _document(path, text)


def _document(path: Path, text: str) -> Document | None:
    from detector.ruleset.disabled import read_disabled
    from detector.ruleset.documents import Faults, parse_documents

    if not text:
        return None
    documents, faults = parse_documents(str(path), text)
    read = [Faults(document) for document in documents]
    for each in read:
        read_disabled(each)
    found = tuple(faults + [fault for each in read for fault in each.found])
    if found:
        raise RuleError(found)
    return documents[0]
