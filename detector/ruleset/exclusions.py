"""Writes filters: the text of one, and the narrowest that passes over what is behind an alert."""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from detector.domain import Direction
from detector.ruleset.categories import CATEGORIES
from detector.ruleset.fields import Kind
from detector.ruleset.quoting import quoted
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

Selection = dict[str, Any]
"""A selection of a Sigma filter: fields with modifiers, and their values."""

# What fits into a table.
_LONGEST_TITLE = 120
# More addresses or ports than that are no description of anything.
_MOST_VALUES = 20
# What a program or a person is, rather than what it happened to do; of both directions.
_WHO = ("LoginUser", "User", "Image", "Script", "ParentImage", "Unit", "Protocol")
# Of these not to be known is a thing to go by as well.
_EVEN_MISSING = ("LoginUser", "User", "Image")
_WHERE = {Direction.OUTBOUND: ("DestinationIp", "remote_address"), Direction.INBOUND: ("SourceIp", "remote_address")}
_PORT = {Direction.OUTBOUND: "remote_port", Direction.INBOUND: "local_port"}


def from_rows(rows: Sequence[Mapping[str, Any]]) -> Selection:
    """The narrowest selection that holds for all rows of connections, in the words of the output.

    What changes from one login or start to the next (session, process name, container) is left out, and so is what
    takes more than a few values.
    """
    selection: Selection = {}
    directions = {Direction(row["direction"]) for row in rows}
    if len(directions) == 1:
        selection["Initiated"] = directions == {Direction.OUTBOUND}
    fields = CATEGORIES["network_connection"].fields
    for name in _WHO:
        values = {row[fields[name].word] for row in rows}
        if values == {None}:
            if name in _EVEN_MISSING:
                selection[f"{name}|exists"] = False
        elif len(values) == 1:
            selection[name] = _exactly(values.pop())
    if len(directions) == 1:
        direction = directions.pop()
        address, word = _WHERE[direction]
        for name, values in (
            (address, {row[word] for row in rows}),
            ("DestinationPort", {row[_PORT[direction]] for row in rows}),
        ):
            if None not in values and len(values) <= _MOST_VALUES:
                selection[name] = _one_or_several(sorted(values, key=_order))
    return selection


def from_group(group: Mapping[str, Any], category: str) -> Selection:
    """What holds for all of an alert whose rows are no more, or that has none, by what they have in common."""
    inbound = "local_port" in group
    selection: Selection = {}
    for word, value in group.items():
        name = _field(word, category, inbound=inbound)
        if name is None:
            continue
        if value is None:
            selection[f"{name}|exists"] = False
        elif name == "Initiated":
            selection[name] = value == Direction.OUTBOUND
        else:
            selection[name] = _exactly(value)
    return selection


def from_words(words: Sequence[str], category: str) -> Selection:
    """What the command line says: `Field|modifier=value`, all of which hold; of one field any of its values.

    Raises:
        ValueError: what is not understood.
    """
    selection: dict[str, list[Any]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise ValueError(f"{word!r} is not understood; write Field=value, such as User=backup")
        selection.setdefault(key.strip(), []).append(_typed(key, value, category))
    return {key: _one_or_several(values) for key, values in selection.items()}


def filter_text(
    selection: Selection,
    *,
    rule: tuple[str, str],
    also: Mapping[str, str] = MappingProxyType({}),
    category: str,
    author: str,
    reason: str,
    day: date,
    until: str,
) -> str:
    """A filter of the rule that has this id and title, as a YAML document.

    Args:
        selection: what it passes over.
        rule: the id and the title.
        also: further rules that pass it over: titles by ids.
        category: of all of them.
        author, reason, day, until: what it says of itself.
    """
    rule_id, title = rule
    words = visible(f"{title}, but not: {reason}", _LONGEST_TITLE)
    lines = [
        f"title: {quoted(words)}",
        f"id: {uuid4()}",
        f"author: {quoted(author)}",
        f"description: {quoted(reason)}",
        f"date: {day.isoformat()}",
        "logsource:",
        f"  category: {category}",
        "  product: linux",
        "filter:",
        "  rules:",
        *(f"    - {each}  # {visible(name)}" for each, name in {rule_id: title, **also}.items()),
        "  selection:",
    ]
    lines += [*lines_of(selection), "  condition: not selection"]
    if until:
        lines += ["x-detector:", f"  until: {quoted(until)}"]
    return "\n".join(lines) + "\n"


def lines_of(selection: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a selection below its name, in YAML."""
    for key, value in selection.items():
        if isinstance(value, list):
            yield f"    {_key(key)}:"
            yield from (f"      - {_value(each)}" for each in value)
        else:
            yield f"    {_key(key)}: {_value(value)}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z|]+", key) else quoted(key)


def _value(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def _typed(key: str, value: str, category: str) -> Any:
    """Numbers and truth values as YAML has them; the loader says what is wrong with others."""
    field = CATEGORIES[category].fields.get(key.split("|", maxsplit=1)[0])
    if key.endswith("|exists") or (field is not None and field.kind is Kind.BOOLEAN):
        return {"true": True, "false": False}.get(value.lower(), value)
    if field is not None and field.kind in (Kind.INTEGER, Kind.NUMBER):
        try:
            return int(value) if field.kind is Kind.INTEGER else float(value)
        except ValueError:
            return value
    return value


def _field(word: str, category: str, *, inbound: bool) -> str | None:
    names = [field.name for field in CATEGORIES[category].fields.values() if field.word == word and field.groups]
    if word == "local_port":
        return "DestinationPort"
    sources = [name for name in names if name.startswith("Source")]
    return sources[0] if inbound and sources else names[0] if names else None


def _exactly(value: Any) -> Any:
    """A value of which no character is a wildcard; a backslash takes that meaning from what follows it."""
    if not isinstance(value, str):
        return value if isinstance(value, bool | int | float) else str(value)
    return "".join(f"\\{character}" if character in "*?\\" else character for character in value)


def _one_or_several(values: Sequence[Any]) -> Any:
    plain = [value if isinstance(value, str | bool | int | float) else str(value) for value in values]
    return plain[0] if len(plain) == 1 else plain


def _order(value: Any) -> tuple[int, Any]:
    return (getattr(value, "version", 0), value)
