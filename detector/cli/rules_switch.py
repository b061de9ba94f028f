"""`detector rules enable` and `disable`: which rules report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.cli.rule_changes import change_options, own_path, remove, said_author, said_reason, write
from detector.cli.rule_names import find, load, rule_argument, short
from detector.cli.terminal import note, say
from detector.errors import RuleError

if TYPE_CHECKING:
    from pathlib import Path

    from detector.config import Settings
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
    from detector.ruleset import disabled, disabled_file

    entry = find(load(settings), named)
    path = own_path(settings, disabled.FILE)
    text, document = _read(path)
    if document is not None:
        known = [str(each.get("id", "")).lower() for each in document.content[disabled.KEY]]
        if entry.rule_id in known:
            # What is said now counts.
            text = disabled_file.without_entry(text, document, known.index(entry.rule_id))
            document = _document(path, text)
    text = disabled_file.with_entry(
        text,
        document,
        rule_id=entry.rule_id,
        title=entry.title,
        author=said_author(author),
        reason=said_reason(reason),
        day=datetime.now(UTC).date(),
        until=until,
    )
    write(settings, path, text)
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
    from detector.ruleset import disabled, disabled_file

    entry = find(load(settings), named)
    said = _disabled_in(settings, entry.rule_id)
    if said is None:
        note(f"{short(entry)} is not disabled; it is {entry.state}")
        return
    path, index = said
    text, document = _read(path)
    left = disabled_file.without_entry(text, document, index) if document is not None else ""
    if left:
        write(settings, path, left)
    else:
        remove(settings, path)
    say(f"enabled: {short(entry)}; {disabled.FILE} is {path}")


def _disabled_in(settings: Settings, rule_id: str) -> tuple[Path, int] | None:
    """The list that names a rule, and the number of the entry, whether or not it has ended."""
    from detector.ruleset.disabled import FILE, KEY

    for folder in reversed(settings.rule_folders):
        path = folder / FILE
        _, document = _read(path)
        for index, each in enumerate(document.content[KEY] if document is not None else ()):
            if str(each.get("id", "")).lower() == rule_id:
                return path, index
    return None


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
