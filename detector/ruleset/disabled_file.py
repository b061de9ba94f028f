"""Edits the text of `disabled.yml`, so that what people wrote beside the entries stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.ruleset.disabled import KEY
from detector.ruleset.quoting import quoted
from detector.visible import visible

if TYPE_CHECKING:
    from datetime import date, datetime

    from detector.ruleset.documents import Document

_HEADING = '# Rules that report nothing. Written by "detector rules disable", and may be edited.\n'


def with_entry(
    text: str, document: Document | None, *, rule_id: str, title: str, author: str, reason: str, day: date, until: str
) -> str:
    """`text` with an entry at the end of the list.

    Args:
        text: the file's; empty: there is none.
        document: what it was read as.
        rule_id: of the rule.
        title: of the rule, for whoever reads the file.
        author: who says so.
        reason: why.
        day: when.
        until: the end, as it was written; empty: there is none.
    """
    values = {"id": rule_id, "author": quoted(author), "reason": quoted(reason), "date": day.isoformat()}
    if until:
        values["until"] = quoted(until)
    indent = _indent(text, document)
    lines = [f"{'- ' if key == 'id' else '  '}{key}: {value}" for key, value in values.items()]
    lines[0] += f"  # {visible(title)}"
    entry = "".join(f"{indent}{line}\n" for line in lines)
    if document is None:
        return f"{_HEADING}{KEY}:\n{entry}"
    return f"{text}{'' if text.endswith(chr(10)) else chr(10)}{entry}"


def without_entry(text: str, document: Document, index: int) -> str:
    """`text` without the entry of this number; empty when none is left."""
    entries = document.content[KEY]
    if len(entries) == 1:
        return ""
    lines = text.splitlines(keepends=True)
    first = document.line(KEY, index) - 1
    end = document.line(KEY, index + 1) - 1 if index + 1 < len(entries) else len(lines)
    return "".join(lines[:first] + lines[end:])


def end_as_written(until: datetime) -> str:
    """A moment as `until` says it."""
    return until.isoformat().replace("+00:00", "Z")


def _indent(text: str, document: Document | None) -> str:
    if document is None or not text:
        return "  "
    line = text.splitlines()[document.line(KEY, 0) - 1]
    return line[: len(line) - len(line.lstrip())]
