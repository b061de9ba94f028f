"""Compiles the detection section of a single-event rule: Sigma's conditions over its selections."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from sigma.conditions import (
    ConditionAND,
    ConditionIdentifier,
    ConditionItem,
    ConditionNOT,
    ConditionOR,
    ConditionSelector,
    SigmaCondition,
)
from sigma.exceptions import SigmaError
from sigma.rule.detection import EmptySigmaDetections

from detector.ruleset.conditions import AllOf, AnyOf, Condition, Matching, Not, OutcomeIs, depth, leaves
from detector.ruleset.selections import read_selection
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detector.ruleset.documents import Faults, Place
    from detector.ruleset.events import Category

# SQLite takes expressions 1,000 deep, and a chain of comparisons is as deep as it is long.
MAX_COMPARISONS = 400
# A value is bound up to ten times (five countable columns, in the condition and in the weight), and SQLite takes
# 32,766 bound values.
MAX_VALUES = 2000
MAX_DEPTH = 20
_TOO_DEEP = f"the condition is nested more than {MAX_DEPTH} deep; write it flatter"
_LONGEST_CONDITION = 1000
_HOW_TO_JOIN = "join selections with and, or, not, parentheses, '1 of name*' or 'all of them'"
_DETECTION = "detection"
_CONDITION: Place = (_DETECTION, "condition")


def compile_detection(detection: Any, category: Category, faults: Faults) -> Matching | None:
    """What the rule's `detection` section matches among events of `category`; None when anything in it is refused."""
    if detection is None:
        return None
    if not isinstance(detection, dict):
        faults.add("detection is no mapping; write named selections and a condition below it", _DETECTION)
        return None
    condition = read_section(detection, _DETECTION, category, faults)
    return None if condition is None else _checked(condition, category, faults)


def read_section(section: Mapping[str, Any], name: str, category: Category, faults: Faults) -> Condition | None:
    """The selections and the condition of the section `name` of a document; None when anything in it is refused."""
    before = len(faults.found)
    at: Place = (name, "condition")
    selections = {
        key: read_selection(definition, (name, key), category, faults)
        for key, definition in section.items()
        if key not in ("condition", "timeframe")
    }
    if "timeframe" in section:
        faults.add("timeframe is no part of Sigma 2; write a correlation with a timespan", name, "timeframe")
    if "condition" not in section:
        example = "condition: selection" if name == _DETECTION else "condition: not selection"
        faults.add(f"{name} has no condition; add one, such as '{example}'", name)
        return None
    written = section["condition"]
    placed = [(each, (*at, index)) for index, each in enumerate(written)] if isinstance(written, list) else None
    reader = _ConditionReader(selections, faults)
    conditions = [reader.read(text, place) for text, place in placed or [(written, at)] if text is not None]
    if not reader.lost:
        for key in selections.keys() - reader.used:
            faults.add(f"no condition uses {shown(key)}; use it or remove it", name, key)
    known = tuple(condition for condition in conditions if condition is not None)
    if len(faults.found) > before or not known:
        return None
    condition = known[0] if len(known) == 1 else AnyOf(known)
    if depth(condition) > MAX_DEPTH:
        faults.add(_TOO_DEEP, *at)
    return condition


def _checked(condition: Condition, category: Category, faults: Faults) -> Matching | None:
    before = len(faults.found)
    found = list(leaves(condition))
    for leaf, negated in found:
        if negated and isinstance(leaf, OutcomeIs):
            faults.add("Outcome cannot stand under a not; name the outcomes that you want instead", *leaf.place)
    matching = Matching.of(condition, category.weights)
    if not matching.ways:
        faults.add("the condition never holds: a connect has one outcome; join the outcomes with or", *_CONDITION)
    if fault := too_large(matching):
        faults.add(fault, *_CONDITION)
    return matching if len(faults.found) == before else None


def too_large(matching: Matching) -> str | None:
    """Why the databases would not take the statement, or None when they do."""
    if matching.comparisons > MAX_COMPARISONS:
        return f"makes {matching.comparisons} comparisons, at most {MAX_COMPARISONS} fit; split the rule"
    if matching.values > MAX_VALUES:
        return f"compares with {matching.values} values, at most {MAX_VALUES} fit; split the rule"
    return None


def _parsed(text: Any) -> ConditionItem | str:
    """Sigma's tree of a condition, or what is wrong with it."""
    if not isinstance(text, str):
        return f"the condition is text, not {shown(text)}; {_HOW_TO_JOIN}"
    if len(text) > _LONGEST_CONDITION:
        return f"the condition is longer than {_LONGEST_CONDITION} characters; split the rule"
    if _nesting(text) > MAX_DEPTH:
        return _TOO_DEEP
    if "|" in text:
        return "'|' in a condition is no part of Sigma 2; write a correlation instead"
    try:
        return cast("ConditionItem", SigmaCondition(text, EmptySigmaDetections()).parse(postprocess=False))
    except SigmaError as fault:
        at = re.search(r"\(at char (\d+)\)", str(fault))
        rest = text[int(at.group(1)) :] if at else text
        return f"the condition is not understood {f'at {shown(rest)}' if rest else 'at its end'}; {_HOW_TO_JOIN}"
    except RecursionError:
        return _TOO_DEEP


def _nesting(text: str) -> int:
    return max(accumulate({"(": 1, ")": -1}.get(character, 0) for character in text), default=0)


class _ConditionReader:
    """Puts selections where a condition names them."""

    def __init__(self, selections: Mapping[str, Condition | None], faults: Faults) -> None:
        self._selections = selections
        self._faults = faults
        self.used: set[str] = set()
        self.lost = False
        """Whether a condition could not be read to its end, so that what it uses is not known."""

    def read(self, text: Any, place: Place) -> Condition | None:
        """The condition, or None when something in it is refused."""
        tree = _parsed(text)
        if isinstance(tree, str):
            self.lost = True
            self._faults.add(tree, *place)
            return None
        return self._resolved(tree, place)

    def _resolved(self, tree: Any, place: Place) -> Condition | None:
        if isinstance(tree, ConditionIdentifier):
            names = [tree.identifier] if tree.identifier in self._selections else []
            how: type[AllOf | AnyOf] = AllOf
        elif isinstance(tree, ConditionSelector):
            names = list(self._matching(tree.pattern))
            how = AnyOf if tree.cond_class is ConditionOR else AllOf
        else:
            return self._operator(tree, place)
        if not names:
            name = tree.args[-1]
            hint = nearest(name, self._selections) if self._selections else "write a selection of that name"
            self.lost = True
            self._faults.add(f"the condition names {shown(name)}, which is no selection; {hint}", *place)
            return None
        self.used.update(names)
        return _all_known(how, [self._selections[name] for name in names])

    def _operator(self, tree: Any, place: Place) -> Condition | None:
        parts = [self._resolved(part, place) for part in tree.args]
        if isinstance(tree, ConditionNOT):
            return None if parts[0] is None else Not(parts[0])
        return _all_known(AllOf if isinstance(tree, ConditionAND) else AnyOf, parts)

    def _matching(self, pattern: str) -> Iterator[str]:
        # As Sigma says: names with a leading underscore are matched only by patterns that have one.
        for name in self._selections:
            hidden = name.startswith("_") and not pattern.startswith("_")
            if not hidden and (pattern == "them" or fnmatchcase(name, pattern)):
                yield name


def _all_known(how: type[AllOf | AnyOf], parts: list[Condition | None]) -> Condition | None:
    known = tuple(part for part in parts if part is not None)
    return how(known) if len(known) == len(parts) else None
