"""What a rule looks at, in words, from what its document says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOKS_AT = {
    "network_connection": "connects and flows (network_connection)",
    "capture": "how well snapshots were taken (capture)",
}
_WORDS = {
    "contains": "contains",
    "startswith": "starts with",
    "endswith": "ends with",
    "cidr": "is in",
    "gt": "is above",
    "gte": "is at least",
    "lt": "is below",
    "lte": "is at most",
    "re": "matches",
    "fieldref": "equals the field",
}
_SILENT = ("all", "cased", "expand", "i", "m", "s")
_NO_SELECTIONS = ("condition", "rules", "timeframe")


def described(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of what is told ("looks at", "selection" …) and the words, of a sound rule, correlation or filter."""
    if "correlation" in content:
        yield from _correlation(content["correlation"])
        return
    yield "looks at", _LOOKS_AT.get(content["logsource"]["category"], "")
    section = content.get("detection") or content["filter"]
    for name, selection in section.items():
        if name not in _NO_SELECTIONS:
            yield name, selected(selection)
    condition = section["condition"]
    yield "condition", " or ".join(f"({each})" for each in condition) if isinstance(condition, list) else condition
    yield from _extension(content.get("x-detector") or {})


def selected(selection: Any) -> str:
    """A selection in words: "DestinationPort is 23 or 2323 and Image ends with /telnet"."""
    if isinstance(selection, list):
        return " or ".join(f"({selected(each)})" for each in selection)
    return " and ".join(_compared(key, value) for key, value in selection.items())


def _extension(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "new_terms" in section:
        terms = section["new_terms"]
        yield "new", f"{_listed(terms['fields'])}, not seen together for {terms['window']}"
    if "baseline" in section:
        usual = section["baseline"]
        counted = usual.get("field", "events")
        yield (
            "unusual",
            f"{counted} of an hour, from {usual['factor']} times the mean of {usual['window']} and {usual['minimum']}",
        )
    if "group_by" in section:
        yield "grouped by", _listed(section["group_by"])


def _listed(names: Any) -> str:
    return ", ".join(names) if isinstance(names, list) else str(names)


def _correlation(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rules = section["rules"]
    yield "counts", f"{section['type']} of {', '.join(rules) if isinstance(rules, list) else rules}"
    for key, value in section.items():
        if key not in ("type", "rules", "generate", "condition"):
            yield key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    condition = section.get("condition")
    if isinstance(condition, dict):
        yield "condition", ", ".join(f"{key} {value}" for key, value in condition.items())
    elif condition is not None:
        yield "condition", str(condition)


def _compared(key: str, value: Any) -> str:
    field, *modifiers = key.split("|")
    if "exists" in modifiers:
        return f"{field} is {'known' if str(value).lower() == 'true' else 'missing'}"
    how = next((_WORDS[each] for each in modifiers if each in _WORDS), "is")
    more = "".join(f" ({each})" for each in modifiers if each not in _WORDS and each not in _SILENT)
    joint = " and " if "all" in modifiers else " or "
    return f"{field} {how}{more} {joint.join(map(str, value)) if isinstance(value, list) else value}"
