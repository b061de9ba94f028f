"""Reads the correlation section of a rule: what is counted, over which rules, in which window and groups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from detector.ruleset.bounds import OPERATORS, Bounds, Rules, names_in, read_bounds, read_number_of_rules, read_rules
from detector.ruleset.categories import unknown
from detector.ruleset.lint import mapping_of
from detector.ruleset.times import read_span
from detector.ruleset.wording import listed, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

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

LONGEST = timedelta(days=31)
"""No window of a rule is longer."""

CountType = Literal["event_count", "value_count", "value_sum", "temporal", "temporal_ordered"]
_TYPES: tuple[CountType, ...] = get_args(CountType)
_OF_VALUES = ("value_count", "value_sum")
TEMPORAL = ("temporal", "temporal_ordered")
"""The types that ask which rules matched, and not how often."""
# Of Sigma, but not of ours.
_INSTEAD = {
    **dict.fromkeys(
        ("value_avg", "value_median", "value_percentile"),
        "write value_sum, or compare the field itself in a single-event rule",
    ),
    **dict.fromkeys(
        ("temporal_extended", "temporal_ordered_extended"),
        "write temporal, with a condition such as 'one and not other'",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correlation:
    """A correlation as it is written; its rules are still names or ids."""

    type: CountType
    rules: tuple[str, ...]
    group_by: tuple[Field, ...]
    timespan: timedelta
    passes: Bounds | Rules
    """What is counted must lie in a range: events, values, a sum, or how many of the rules matched; or rules must have
    matched as a condition says."""
    counted: Field | None
    """The field whose distinct values are counted, or whose values are added up; None where events or rules are."""
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
    kind = _type(section.get("type"), faults)
    for key, example in _REQUIRED.items():
        if key not in section and not _left_out(key, kind, section):
            faults.add(f"the correlation has no {key}; add '{key}: {example or category.example_group}'", _SECTION)
    _check_rules(section.get("rules"), faults)
    group_by = read_group_by(section.get("group-by"), category, faults, _SECTION, "group-by")
    timespan = read_span(section.get("timespan"), "timespan", LONGEST, faults, _SECTION, "timespan")
    rules = counted_rules(section)
    passes, counted = _condition(section.get("condition"), kind, rules, category, faults)
    generate = section.get("generate", False)
    if not isinstance(generate, bool) and generate is not None:
        faults.add(f"generate is true or false, not {shown(generate)}; write true or false", _SECTION, "generate")
    if len(faults.found) > before or None in section.values() or kind is None or timespan is None or passes is None:
        return None
    return Correlation(
        type=kind,
        rules=rules,
        group_by=group_by,
        timespan=timespan,
        passes=passes,
        counted=counted,
        generate=generate,
    )


def counted_rules(section: Any) -> tuple[str, ...]:
    """The names and ids of the rules that a `correlation` section counts, as far as they can be read."""
    if not isinstance(section, dict):
        return ()
    if "rules" not in section:
        # A condition in words names them.
        return names_in(section.get("condition"))
    names = section["rules"]
    several = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    return tuple(each for each in several if isinstance(each, str))


def without_range(content: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as pySigma takes it, which knows no ranges though Sigma does: of one, the first end alone."""
    section = content.get(_SECTION, {})
    condition = section.get("condition")
    if not isinstance(condition, dict):
        return dict(content)
    ends = [key for key in condition if key in OPERATORS]
    one = {key: value for key, value in condition.items() if key not in ends[1:]}
    return {**content, _SECTION: {**section, "condition": one}}


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


def summed_field(name: Any, category: Category, faults: Faults, *place: str | int) -> Field | None:
    """The field called `name`, if its values are whole numbers that can be added up."""
    known = category.measures
    if isinstance(name, str) and name in known:
        return known[name]
    if isinstance(name, str) and name in category.fields:
        faults.add(f"{name} cannot be added up; {listed(known)}", *place)
    else:
        faults.add(unknown(str(name), category, known), *place)
    return None


def _type(value: Any, faults: Faults) -> CountType | None:
    for each in _TYPES:
        if value == each:
            return each
    if isinstance(value, str) and value in _INSTEAD:
        faults.add(f"the type {value} is not supported; {_INSTEAD[value]}", _SECTION, "type")
    elif value is not None:
        faults.add(f"the type {shown(value)} is not known; {nearest(str(value), _TYPES)}", _SECTION, "type")
    return None


def _left_out(key: str, kind: CountType | None, section: dict[str, Any]) -> bool:
    """Whether a key need not be there: the condition of rules that must all have matched, or what it names itself."""
    return kind in TEMPORAL and (key == "condition" or (key == "rules" and isinstance(section.get("condition"), str)))


def _check_rules(value: Any, faults: Faults) -> None:
    fits = isinstance(value, list) and all(each is None or isinstance(each, str) for each in value)
    if not fits and not isinstance(value, str | None):
        faults.add("rules is not a list of names; write the name or id of each rule after a dash", _SECTION, "rules")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            if each is not None and each in value[:index]:
                faults.add(f"{shown(each)} stands there twice; keep one", _SECTION, "rules", index)


def _condition(
    value: Any, kind: CountType | None, rules: tuple[str, ...], category: Category, faults: Faults
) -> tuple[Bounds | Rules | None, Field | None]:
    place = (_SECTION, "condition")
    if kind is None:
        # What a condition may be depends on it.
        return None, None
    if kind in TEMPORAL:
        return _of_rules(value, kind, rules, faults), None
    if isinstance(value, str):
        faults.add(f"a condition in words is for temporal; of {kind} write one such as {{gte: 20}}", *place)
        return None, None
    written = mapping_of(value, (*OPERATORS, "neq", "percentile", "field"), faults, *place)
    if written is None or not written.keys() <= {*OPERATORS, "neq", "percentile", "field"}:
        return None, None
    if "percentile" in written:
        faults.add("percentile belongs to value_percentile, which is not supported; remove it", *place, "percentile")
    bounds = read_bounds(written, 0 if kind == "value_sum" else 1, faults, *place)
    name, counted = written.get("field"), None
    if kind == "event_count" and "field" in written:
        advice = "remove it, or write value_count or value_sum"
        faults.add(f"an event_count has no field; {advice}", *place, "field")
    if kind == "value_count" and "field" not in written:
        advice = f"add 'field: {category.example_counted}'"
        faults.add(f"a value_count needs the field whose values it counts; {advice}", *place)
    if kind == "value_sum" and "field" not in written:
        advice = f"add 'field: {category.example_summed}'"
        faults.add(f"a value_sum needs the field whose values it adds up; {advice}", *place)
    if kind in _OF_VALUES and name is not None:
        read = grouping_field if kind == "value_count" else summed_field
        counted = read(name, category, faults, *place, "field")
    return bounds, counted


def _of_rules(value: Any, kind: CountType | None, rules: tuple[str, ...], faults: Faults) -> Bounds | Rules | None:
    if len(set(rules)) < len(rules):
        # Said of the rules.
        return None
    if rules and len(rules) < 2:  # noqa: PLR2004
        faults.add(f"a {kind} correlation needs two rules or more; name another, or write event_count", _SECTION)
        return None
    place = (_SECTION, "condition")
    if kind == "temporal_ordered" and value is not None:
        advice = "remove the condition, or write temporal"
        faults.add(f"temporal_ordered needs all its rules, in the order in which it lists them; {advice}", *place)
        return None
    if isinstance(value, str):
        return read_rules(value, rules, faults, *place)
    return read_number_of_rules(value, len(rules), faults, *place)
