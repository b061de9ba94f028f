"""Sigma filters: what rules pass over for good, who said so, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detector.ruleset.compile import read_section
from detector.ruleset.conditions import AllOf, Condition, Matching, Not, OutcomeIs, leaves, parts_of
from detector.ruleset.wording import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from detector.ruleset.documents import Faults
    from detector.ruleset.events import Category

_SECTION = "filter"
ANY = "any"
"""In place of rules: all single-event rules of the category."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filter:
    """A filter that was read and checked."""

    rule_id: str
    """Its own Sigma `id`: a UUID in lower case."""
    title: str
    author: str
    reason: str
    until: datetime | None
    """Rules pass nothing over for its sake afterwards; None: for good."""
    path: str
    line: int
    rules: tuple[str, ...]
    """The names and ids of the rules that it is for; empty: all single-event rules of its category."""

    def has_ended(self, now: datetime) -> bool:
        """Whether it is over."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exclusion:
    """The `filter` section: which rules it is for, and what must hold of an event for them to see it."""

    rules: tuple[str, ...]
    condition: Condition


def read_exclusion(section: Any, category: Category, faults: Faults) -> Exclusion | None:
    """A document's `filter` section, over events of `category`; None when anything in it is refused."""
    before = len(faults.found)
    if section is None:
        return None
    if not isinstance(section, dict):
        faults.add("filter is no mapping; write rules, a selection and a condition below it", _SECTION)
        return None
    rules = _rules(section, faults)
    selections = {name: value for name, value in section.items() if name != "rules"}
    if not selections.keys() - {"condition"}:
        faults.add("the filter has no selection; add one that says what to pass over", _SECTION)
        return None
    if isinstance(section.get("condition"), list):
        faults.add("a filter has one condition; join several with and", _SECTION, "condition")
        return None
    condition = read_section(selections, _SECTION, category, faults)
    if condition is None:
        return None
    for leaf, _ in leaves(condition):
        if isinstance(leaf, OutcomeIs):
            advice = "say in a copy of the rule which outcomes it is about"
            faults.add(f"a filter cannot pass over outcomes; {advice}", *leaf.place)
    if narrows(condition):
        example = next((name for name in selections if name != "condition"), "selection")
        advice = f"write 'condition: not {example}'"
        faults.add(f"the filter keeps what it should pass over; {advice}", _SECTION, "condition")
    return Exclusion(rules=rules, condition=condition) if len(faults.found) == before else None


def narrows(condition: Condition, *, negated: bool = False) -> bool:
    """Whether anything in a filter's condition has to hold, rather than not to hold, for a rule to see an event."""
    if isinstance(condition, Not):
        return narrows(condition.part, negated=not negated)
    parts = parts_of(condition)
    return any(narrows(part, negated=negated) for part in parts) if parts else not negated


def narrowed(matching: Matching, exclusions: Sequence[Exclusion]) -> Matching:
    """What is left of `matching` when rows are passed over."""
    if not exclusions:
        return matching
    kept = AllOf((matching.condition, *(each.condition for each in exclusions)))
    return Matching.of(kept, matching.weights)


def _rules(section: dict[str, Any], faults: Faults) -> tuple[str, ...]:
    place = (_SECTION, "rules")
    if "rules" not in section:
        faults.add("the filter names no rules; add 'rules:' with the id or name of each after a dash", _SECTION)
        return ()
    value = section["rules"]
    if isinstance(value, str):
        return () if value.lower() == ANY else (value,)
    if value is not None and not (isinstance(value, list) and all(isinstance(each, str | None) for each in value)):
        faults.add(f"rules are {shown(value)}; write the id or name of each rule after a dash, or 'any'", *place)
        return ()
    return tuple(each for each in value or () if each is not None)
