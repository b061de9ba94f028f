"""Reads the correlation section of a rule: what is counted, over which rules, in which window and groups."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from detector.ruleset import compare
from detector.ruleset.categories import unknown
from detector.ruleset.fields import MOST
from detector.ruleset.lint import mapping_of
from detector.ruleset.times import read_span
from detector.ruleset.wording import listed, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.ruleset.documents import Faults
    from detector.ruleset.events import Category
    from detector.ruleset.fields import Field

_SECTION = "correlation"
_REQUIRED = {
    "type": "event_count",
    "rules": "name of the rule that it counts",
    # Depends on the category.
    "group-by": "",
    "timespan": "5m",
    "condition": "{gte: 20}",
}

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {**compare.COMPARE, "eq": operator.eq}
"""How a count is compared with the threshold, by Sigma's names."""

_LONGEST = timedelta(days=31)

CountType = Literal["event_count", "value_count"]
_TYPES: tuple[CountType, ...] = ("event_count", "value_count")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correlation:
    """A correlation as it is written; its rules are still names or ids."""

    type: CountType
    rules: tuple[str, ...]
    group_by: tuple[Field, ...]
    timespan: timedelta
    operator: str
    """gt, gte, lt, lte or eq."""
    threshold: int
    counted: Field | None
    """The field whose distinct values are counted; None for event_count."""
    generate: bool
    """Whether the base rules produce findings of their own as well."""


def read_correlation(section: Any, category: Category, faults: Faults) -> Correlation | None:
    """The rule's `correlation` section, over rules of `category`; None when anything in it is refused."""
    before = len(faults.found)
    if section is None:
        return None
    if not isinstance(section, dict):
        faults.add("correlation is no mapping; write type, rules, group-by, timespan and condition", _SECTION)
        return None
    if "aliases" in section:
        advice = "all rules see the same fields; name them in group-by"
        faults.add(f"aliases are not needed here; {advice}", _SECTION, "aliases")
    mapping_of(section, (*_REQUIRED, "generate", "aliases"), faults, _SECTION)
    for key, example in _REQUIRED.items():
        if key not in section:
            faults.add(f"the correlation has no {key}; add '{key}: {example or category.example_group}'", _SECTION)
    kind = _type(section.get("type"), faults)
    _check_rules(section.get("rules"), faults)
    group_by = read_group_by(section.get("group-by"), category, faults, _SECTION, "group-by")
    timespan = read_span(section.get("timespan"), "timespan", _LONGEST, faults, _SECTION, "timespan")
    comparison, threshold, counted = _condition(section.get("condition"), kind, category, faults)
    generate = section.get("generate", False)
    if not isinstance(generate, bool) and generate is not None:
        faults.add(f"generate is true or false, not {shown(generate)}; write true or false", _SECTION, "generate")
    if len(faults.found) > before or None in section.values() or kind is None or timespan is None or not comparison:
        return None
    return Correlation(
        type=kind,
        rules=counted_rules(section),
        group_by=group_by,
        timespan=timespan,
        operator=comparison,
        threshold=threshold,
        counted=counted,
        generate=generate,
    )


def counted_rules(section: Any) -> tuple[str, ...]:
    """The names and ids of the rules that a `correlation` section counts, as far as they can be read."""
    names = section.get("rules") if isinstance(section, dict) else None
    several = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    return tuple(each for each in several if isinstance(each, str))


def read_group_by(value: Any, category: Category, faults: Faults, *place: str) -> tuple[Field, ...]:
    """The fields that matches are grouped by, each once."""
    found: dict[str, Field] = {}
    for index, name in enumerate([value] if isinstance(value, str) else value if isinstance(value, list) else []):
        at: tuple[str | int, ...] = (*place, index)
        if name is None:
            continue
        if field := grouping_field(name, category, faults, *at):
            if name in found:
                faults.add(f"{name} stands there twice; keep one", *at)
            found[name] = field
    if value is not None and not isinstance(value, str | list):
        faults.add(f"{place[-1]} is not a list of fields; write one such as {category.example_group}", *place)
    # What the output calls by one name is one thing, in two directions.
    words: dict[str, list[str]] = {}
    for field in category.fields.values():
        if field.name in found:
            words.setdefault(field.word, []).append(field.name)
    for one, *others in words.values():
        for other in others:
            faults.add(f"a connection has a {one} or a {other}, never both; keep one in the group", *place)
    return tuple(found.values())


def grouping_field(name: Any, category: Category, faults: Faults, *place: str | int) -> Field | None:
    """The field called `name`, if it is one that says who or what."""
    known = category.grouping
    if isinstance(name, str) and name in known:
        return known[name]
    if isinstance(name, str) and name in category.fields:
        faults.add(f"{name} is a measure, no group; {listed(known)}", *place)
    else:
        faults.add(unknown(str(name), category, known), *place)
    return None


def _type(value: Any, faults: Faults) -> CountType | None:
    for each in _TYPES:
        if value == each:
            return each
    if value is not None:
        faults.add(f"the type {shown(value)} is not known; {nearest(str(value), _TYPES)}", _SECTION, "type")
    return None


def _check_rules(value: Any, faults: Faults) -> None:
    fits = isinstance(value, list) and all(each is None or isinstance(each, str) for each in value)
    if not fits and not isinstance(value, str | None):
        faults.add("rules is not a list of names; write the name or id of each rule after a dash", _SECTION, "rules")


def _condition(value: Any, kind: CountType | None, category: Category, faults: Faults) -> tuple[str, int, Field | None]:
    refused = ("", 0, None)
    place = (_SECTION, "condition")
    written = mapping_of(value, (*OPERATORS, "field"), faults, *place)
    if written is None:
        return refused
    operators = [key for key in written if key in OPERATORS]
    if len(operators) != 1:
        if written.keys() <= {*OPERATORS, "field"}:
            faults.add(f"the condition needs one of {', '.join(OPERATORS)}; write 'gte: 20'", *place)
        return refused
    comparison, threshold = operators[0], written[operators[0]]
    if threshold is None:
        return refused
    if fault := _never_decides(comparison, threshold):
        faults.add(fault, *place, comparison)
        return refused
    if kind == "event_count" and "field" in written:
        faults.add("an event_count has no field; remove it, or write value_count", *place, "field")
    if kind == "value_count" and "field" not in written:
        advice = f"add 'field: {category.example_counted}'"
        faults.add(f"a value_count needs the field whose values it counts; {advice}", *place)
    name, counted = written.get("field"), None
    if kind == "value_count" and name is not None:
        counted = grouping_field(name, category, faults, *place, "field")
    return comparison, threshold, counted


def _never_decides(comparison: str, threshold: Any) -> str | None:
    """Groups without a match are never looked at, so each count that is compared is at least one."""
    if not isinstance(threshold, int) or isinstance(threshold, bool) or not 0 <= threshold <= MOST:
        return f"{comparison} is a whole number, not {shown(threshold)}; write one such as 20"
    if comparison in ("gt", "gte") and threshold == 0:
        return f"{comparison}: {threshold} holds for every match; write a larger number, or a single-event rule"
    if (comparison in ("lte", "eq") and threshold == 0) or (comparison == "lt" and threshold <= 1):
        return f"{comparison}: {threshold} never holds, since only what happened is counted; write a larger number"
    return None
