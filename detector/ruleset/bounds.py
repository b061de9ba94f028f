"""Reads the condition of a correlation: between which numbers a count must lie, or which rules must have matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaCorrelationConditionError

from detector.ruleset.fields import MOST
from detector.ruleset.lint import mapping_of
from detector.ruleset.wording import listed, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.ruleset.documents import Faults

_LOWER, _UPPER = ("gt", "gte"), ("lt", "lte")
OPERATORS = (*_LOWER, *_UPPER, "eq")
"""How a count is compared, by Sigma's names."""

_LONGEST = 1000
_HOW_TO_JOIN = "join names of rules with and, or, not and parentheses"


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of whole numbers, both ends of which are in it."""

    least: int
    most: int

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.least <= number <= self.most


@dataclass(frozen=True, slots=True)
class Rules:
    """Which of some rules must have matched."""

    tree: Any
    """pySigma's, of references to the rules by their names."""
    names: tuple[str, ...]
    """Those of the rules, in the order of the correlation."""

    def holds(self, matched: Sequence[bool]) -> bool:
        """Whether it is enough that these have: a flag for each rule."""
        return _holds(self.tree, dict(zip(self.names, matched, strict=True)))


def read_bounds(written: Mapping[str, Any], lowest: int, faults: Faults, *place: str) -> Bounds | None:
    """The range that a condition's comparisons leave; None when it is refused.

    Args:
        written: the condition, whose keys are known ones.
        lowest: what is compared is never less.
        faults: where faults go.
        place: where the condition stands.
    """
    given = [key for key in written if key in OPERATORS]
    if "neq" in written:
        faults.add("neq holds for nearly every count; write a range, such as {gte: 10, lt: 100}", *place, "neq")
        return None
    if not given:
        faults.add(f"the condition needs one of {', '.join(OPERATORS)}; write 'gte: 20'", *place)
        return None
    if any(sum(key in side for key in given) > 1 for side in (_LOWER, _UPPER)) or ("eq" in given and len(given) > 1):
        advice = "keep one, or one of gt and gte with one of lt and lte"
        faults.add(f"the comparisons {' and '.join(given)} do not go together; {advice}", *place)
        return None
    if any(written[key] is None for key in given):
        return None
    wrong = [(key, fault) for key in given if (fault := _never_decides(key, written[key], lowest))]
    for key, fault in wrong:
        faults.add(fault, *place, key)
    if wrong:
        return None
    bounds = Bounds(
        max([lowest, *(written[key] + (key == "gt") for key in given if key not in _UPPER)]),
        min([MOST, *(written[key] - (key == "lt") for key in given if key not in _LOWER)]),
    )
    if bounds.least > bounds.most:
        said = ", ".join(f"{key}: {written[key]}" for key in given)
        faults.add(f"no whole number is within {said}; write a range such as {{gte: 10, lt: 100}}", *place)
        return None
    return bounds


def _never_decides(comparison: str, number: Any, lowest: int) -> str | None:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MOST:
        return f"{comparison} is a whole number, not {shown(number)}; write one such as 20"
    if comparison in _LOWER and number == 0 and not (comparison == "gt" and lowest == 0):
        return f"{comparison}: {number} holds for every match; write a larger number, or a single-event rule"
    if (comparison in ("lte", "eq") and number < lowest) or (comparison == "lt" and number <= lowest):
        return f"{comparison}: {number} never holds, since only what happened is counted; write a larger number"
    return None


def read_number_of_rules(value: Any, number: int, faults: Faults, *place: str) -> Bounds | None:
    """How many of `number` rules must have matched; all of them, if `value` is None."""
    if value is None:
        return Bounds(number, number)
    written = mapping_of(value, (*OPERATORS, "neq"), faults, *place)
    bounds = None if written is None else read_bounds(written, 1, faults, *place)
    if bounds is None:
        return None
    if bounds.least > number:
        faults.add(f"more than {number} rules never match, since no more are named; write {number} or less", *place)
        return None
    if bounds.least == 1 and bounds.most >= number:
        faults.add("the condition holds for every match; write a larger number, or a single-event rule", *place)
        return None
    return bounds


def names_in(text: Any) -> tuple[str, ...]:
    """The names of the rules that a condition in words names; none when it is none."""
    parsed = _parsed(text)
    return () if isinstance(parsed, str) else tuple(parsed.get_referenced_rules())


def read_rules(text: str, names: tuple[str, ...], faults: Faults, *place: str) -> Rules | None:
    """A condition in words over all of `names`; None when it is refused."""
    before = len(faults.found)
    parsed = _parsed(text)
    if isinstance(parsed, str):
        faults.add(parsed, *place)
        return None
    named = parsed.get_referenced_rules()
    for name in named:
        if name not in names:
            faults.add(f"the condition names {shown(name)}, which is not among the rules; {listed(names)}", *place)
    for name in names:
        if name not in named:
            advice = "use it by its name, or remove it from the rules"
            faults.add(f"the condition does not use the rule {shown(name)}; {advice}", *place)
    if len(faults.found) > before:
        return None
    rules = Rules(parsed.parsed, names)
    if rules.holds([False] * len(names)):
        faults.add("the condition holds when nothing matched; name a rule that must match, without a not", *place)
        return None
    return rules


def _parsed(text: Any) -> SigmaExtendedCorrelationCondition | str:
    """Sigma's tree, or what is wrong with it."""
    if not isinstance(text, str):
        return f"the condition is no text; {_HOW_TO_JOIN}"
    if len(text) > _LONGEST:
        return f"the condition is longer than {_LONGEST} characters; shorten it"
    try:
        return SigmaExtendedCorrelationCondition(text)
    except (SigmaCorrelationConditionError, RecursionError):
        return f"the condition {shown(text)} is not understood; {_HOW_TO_JOIN}"


def _holds(tree: Any, matched: Mapping[str, bool]) -> bool:
    if isinstance(tree, SigmaRuleReference):
        return matched[tree.reference]
    parts = (_holds(part, matched) for part in tree.args)
    if isinstance(tree, CorrelationConditionNOT):
        return not next(parts)
    return all(parts) if isinstance(tree, CorrelationConditionAND) else any(parts)
