"""Which values fields can have where a condition holds: to tell a rule that never matches from one that may.

What is known is an upper bound, and a field of which nothing is known may have any value: what is called impossible is,
and some that is impossible is not found out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from detector.ruleset.fields import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector.ruleset.fields import Field

Spans = tuple[tuple[float, float], ...]
"""Numbers from the first of a pair to the second, both included, ascending and apart: of numbers and of addresses."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts, or all but some; in lower case, as they are compared."""

    named: frozenset[str]
    others: bool = False
    """All texts but those named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What one field can be."""

    missing: bool
    """Whether it can be missing."""
    some: Spans | Texts | None = None
    """What it can be where it is there; None: anything."""
    because: frozenset[str] = frozenset()
    """The fields whose comparisons say so."""

    @property
    def impossible(self) -> bool:
        """Whether nothing is left."""
        return not self.missing and self.some in ((), Texts(frozenset()))


Possible = Mapping[str, Values]
"""By field; of others nothing is known."""


@dataclass(frozen=True, slots=True)
class Never:
    """A condition that nothing meets, and the fields that contradict each other."""

    fields: frozenset[str]


def present(field: Field, some: Spans | Texts | None = None) -> Possible:
    """The field is there, and is one of `some` if they are named; so the connection has the direction that has it."""
    found = {field.name: Values(missing=False, some=some, because=frozenset({field.name}))}
    if field.outbound is not None:
        side = float(field.outbound)
        found["Initiated"] = Values(missing=False, some=((side, side),), because=frozenset({field.name}))
    return found


def absent(field: Field) -> Possible:
    """The field is missing."""
    return {field.name: Values(missing=True, some=(), because=frozenset({field.name}))}


def other(field: Field, some: Spans | Texts) -> Possible:
    """The field is none of `some`, or is missing."""
    left = replace(some, others=True) if isinstance(some, Texts) else _gaps(field, some)
    return {field.name: Values(missing=True, some=left, because=frozenset({field.name}))}


def spans(several: Iterable[tuple[float, float]]) -> Spans:
    """Sorted and merged; what ends before it begins is nothing."""
    found: list[tuple[float, float]] = []
    for low, high in sorted(several):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        elif low <= high:
            found.append((low, high))
    return tuple(found)


def ordered(field: Field, modifier: str, number: float) -> Spans:
    """The values of `field` that are greater (gt), at least (gte), less (lt) or at most (lte) `number`."""
    match modifier:
        case "gt":
            return spans([(_after(field, number), field.maximum)])
        case "gte":
            return spans([(number, field.maximum)])
        case "lt":
            return spans([(field.minimum, _before(field, number))])
    return spans([(field.minimum, number)])


def all_of(several: Iterable[Possible | Never]) -> Possible | Never:
    """What is possible where all hold."""
    found: dict[str, Values] = {}
    for each in several:
        if isinstance(each, Never):
            return each
        for name, values in each.items():
            both = _both(found[name], values) if name in found else values
            if both.impossible:
                return Never(both.because)
            found[name] = both
    return found


def any_of(several: Iterable[Possible | Never]) -> Possible | Never:
    """What is possible where at least one holds."""
    parts = list(several)
    living = [each for each in parts if not isinstance(each, Never)]
    if not living:
        return next(each for each in parts if isinstance(each, Never))
    known = reduce(lambda names, each: names & each.keys(), living[1:], set(living[0]))
    return {name: reduce(_either, (each[name] for each in living)) for name in known}


def _both(one: Values, two: Values) -> Values:
    some: Spans | Texts | None
    if one.some is None or two.some is None:
        some = two.some if one.some is None else one.some
    elif isinstance(one.some, Texts) and isinstance(two.some, Texts):
        some = _both_texts(one.some, two.some)
    elif isinstance(one.some, Texts) or isinstance(two.some, Texts):
        # Of a text that is missing nothing is left, whatever the other says.
        some = ()
    else:
        some = spans((max(a, c), min(b, d)) for a, b in one.some for c, d in two.some if max(a, c) <= min(b, d))
    return Values(missing=one.missing and two.missing, some=some, because=one.because | two.because)


def _both_texts(one: Texts, two: Texts) -> Texts:
    if one.others and two.others:
        return Texts(one.named | two.named, others=True)
    if one.others or two.others:
        named, without = (two, one) if one.others else (one, two)
        return Texts(named.named - without.named)
    return Texts(one.named & two.named)


def _either(one: Values, two: Values) -> Values:
    some: Spans | Texts | None = None
    if one.some == () or two.some == ():
        some = two.some if one.some == () else one.some
    elif isinstance(one.some, tuple) and isinstance(two.some, tuple):
        some = spans([*one.some, *two.some])
    elif isinstance(one.some, Texts) and isinstance(two.some, Texts) and not one.some.others and not two.some.others:
        some = Texts(one.some.named | two.some.named)
    return Values(missing=one.missing or two.missing, some=some, because=one.because | two.because)


def _gaps(field: Field, some: Spans) -> Spans:
    low, high = _bounds(field)
    edges = [low, *(edge for first, last in some for edge in (_before(field, first), _after(field, last))), high]
    return spans(zip(edges[::2], edges[1::2], strict=True))


def _bounds(field: Field) -> tuple[float, float]:
    return (0, 2**128 - 1) if field.kind is Kind.ADDRESS else (field.minimum, field.maximum)


def _after(field: Field, number: float) -> float:
    return math.nextafter(number, math.inf) if field.kind is Kind.NUMBER else number + 1


def _before(field: Field, number: float) -> float:
    return math.nextafter(number, -math.inf) if field.kind is Kind.NUMBER else number - 1
