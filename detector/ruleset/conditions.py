"""What a rule's detection section says, between Sigma's text and SQL: comparisons joined by and, or and not.

An event may be one connect, and a stored row stand for many: what a row is worth to a correlation depends on the
outcomes that the rule names. So a condition is rendered once for each thing that may be counted ("ways"): all events
of a row, or those of one outcome.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import reduce
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, false, func, not_, or_

from detector.ruleset.events import ANY
from detector.ruleset.possible import Never, all_of, any_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement

    from detector.ruleset.documents import Place
    from detector.ruleset.possible import Possible
    from detector.ruleset.ranges import Ranges


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One field against one value, or a list of plain ones."""

    expression: ColumnElement[bool]
    values: int = 1
    """How many values are bound to the statement."""
    holds: Possible = attribute(default_factory=dict)
    """What fields can be where it is true."""
    fails: Possible = attribute(default_factory=dict)
    """What fields can be where it is not."""
    ranges: tuple[Ranges, ...] = ()
    """What the database has to have for it."""
    empty_list: str = ""
    """The list that it compares with, if nothing stands in that yet."""


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeIs:
    """The connect ended in one of `outcomes`; "attempted" is true of every connect."""

    outcomes: frozenset[str]
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class AllOf:
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    """The part does not hold; true where a field that it names is missing."""

    part: Condition


Condition = Comparison | OutcomeIs | AllOf | AnyOf | Not


def leaves(condition: Condition, *, negated: bool = False) -> Iterator[tuple[Comparison | OutcomeIs, bool]]:
    """All comparisons, each with whether a `not` stands over it."""
    if isinstance(condition, Comparison | OutcomeIs):
        yield condition, negated
    elif isinstance(condition, Not):
        yield from leaves(condition.part, negated=True)
    else:
        for part in condition.parts:
            yield from leaves(part, negated=negated)


def depth(condition: Condition) -> int:
    """How deeply and, or and not are nested."""
    parts = parts_of(condition)
    return 1 + max(depth(part) for part in parts) if parts else 0


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """What a condition is joined of; nothing of a comparison."""
    if isinstance(condition, AllOf | AnyOf):
        return condition.parts
    return (condition.part,) if isinstance(condition, Not) else ()


def possible(condition: Condition, *, negated: bool = False) -> Possible | Never:
    """What fields can be where the condition holds, or, `negated`, where it does not."""
    if isinstance(condition, OutcomeIs):
        return {}
    if isinstance(condition, Comparison):
        return condition.fails if negated else condition.holds
    if isinstance(condition, Not):
        return possible(condition.part, negated=not negated)
    every = isinstance(condition, AllOf) != negated
    return (all_of if every else any_of)(possible(part, negated=negated) for part in condition.parts)


def waits_for(condition: Condition) -> frozenset[str]:
    """The empty lists that keep the condition from ever holding; none when it may hold without them."""
    if isinstance(condition, Comparison):
        return frozenset({condition.empty_list} if condition.empty_list else ())
    if not isinstance(condition, AllOf | AnyOf):
        return frozenset()
    parts = [waits_for(part) for part in condition.parts]
    waiting = any(parts) if isinstance(condition, AllOf) else all(parts)
    return frozenset().union(*parts) if waiting else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """Which rows match, by what is counted of them: the SQL condition for each kind of event that may be."""

    condition: Condition
    """What it was made of."""
    ways: tuple[tuple[str, ColumnElement[bool]], ...]
    weights: Mapping[str, ColumnElement[Any]]
    """How many events of each kind a row stands for."""
    comparisons: int
    """How many comparisons stand in one condition."""
    values: int
    """How many values they are made with."""
    ranges: tuple[Ranges, ...] = ()
    """What the database has to have for them."""
    compared: tuple[ColumnElement[bool], ...] = ()
    """They themselves, less those of outcomes."""

    @classmethod
    def of(cls, condition: Condition, weights: Mapping[str, ColumnElement[Any]]) -> Matching:
        """Every way in which rows can match; none when no event can meet the condition.

        No OutcomeIs may stand under a Not.

        Args:
            weights: how many events of each kind a row stands for.
        """
        found = [leaf for leaf, _ in leaves(condition)]
        named = {each for leaf in found if isinstance(leaf, OutcomeIs) for each in leaf.outcomes}
        counted = (ANY, *(each for each in weights if each in named and each != ANY))
        rendered = ((each, _render(condition, each, weights)) for each in counted)
        return cls(
            condition=condition,
            ways=tuple((each, expression) for each, expression in rendered if expression is not None),
            weights=weights,
            comparisons=len(found),
            values=sum(leaf.values for leaf in found if isinstance(leaf, Comparison)),
            ranges=tuple(each for leaf in found if isinstance(leaf, Comparison) for each in leaf.ranges),
            compared=tuple(leaf.expression for leaf in found if isinstance(leaf, Comparison)),
        )

    @classmethod
    def any_of(cls, several: Sequence[Matching]) -> Matching:
        """The rows of all of `several`; an event that more than one of them matches counts once."""
        found: dict[str, list[ColumnElement[bool]]] = {}
        for matching in several:
            for counted, expression in matching.ways:
                found.setdefault(counted, []).append(expression)
        return cls(
            condition=AnyOf(tuple(matching.condition for matching in several)),
            ways=tuple((counted, or_(*expressions)) for counted, expressions in found.items()),
            weights=several[0].weights if several else {},
            comparisons=sum(matching.comparisons for matching in several),
            values=sum(matching.values for matching in several),
            ranges=tuple(each for matching in several for each in matching.ranges),
            compared=tuple(each for matching in several for each in matching.compared),
        )

    @property
    def rows(self) -> ColumnElement[bool]:
        """Whether a row holds an event that matches."""
        return or_(*(expression for _, expression in self.ways))

    @property
    def weight(self) -> ColumnElement[Any]:
        """How many events of a matching row match."""
        if len(self.ways) == 1:
            return self.weights[self.ways[0][0]]
        ways = dict(self.ways)
        every = ways.pop(ANY, None)
        each = (case((expression, self.weights[counted]), else_=0) for counted, expression in ways.items())
        total: ColumnElement[Any] = reduce(operator.add, each)
        # Where every attempt matches, its outcome must not be counted a second time.
        return total if every is None else case((every, self.weights[ANY]), else_=total)


def _render(
    condition: Condition, counted: str, weights: Mapping[str, ColumnElement[Any]]
) -> ColumnElement[bool] | None:
    """The condition as SQL for events of which `counted` is true; None when they can never meet it.

    A comparison with a missing value is NULL, which `and` and `or` treat as Sigma wants it, and `not` must not see.
    """
    if isinstance(condition, Comparison):
        return condition.expression
    if isinstance(condition, OutcomeIs):
        # An outcome implies the attempt, but the attempt may have been counted in an earlier snapshot.
        possible = counted in condition.outcomes or ANY in condition.outcomes
        return weights[counted] > 0 if possible else None
    if isinstance(condition, Not):
        part = _render(condition.part, counted, weights)
        return not_(func.coalesce(false() if part is None else part, false()))
    parts = [_render(part, counted, weights) for part in condition.parts]
    possible_parts = [part for part in parts if part is not None]
    if isinstance(condition, AllOf):
        return and_(*possible_parts) if len(possible_parts) == len(parts) else None
    return or_(*possible_parts) if possible_parts else None
