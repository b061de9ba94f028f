"""One field against values, a pattern or another field, as SQL that gives the same rows on SQLite and Postgres."""

from __future__ import annotations

import operator
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_

from detector.ruleset.conditions import Comparison
from detector.ruleset.fields import Field, Kind
from detector.ruleset.possible import Spans, Texts, absent, ordered, other, present, spans
from detector.ruleset.regex_sql import Regex, holds_match
from detector.ruleset.texts import FoldedCase, Position, cased_like, folded_like
from detector.ruleset.values import folded
from detector.store.columns import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sigma.types import SigmaString
    from sqlalchemy import ColumnElement

    from detector.domain import IPAddress
    from detector.ruleset.possible import Possible

_MAPPED = IPv6Network("::ffff:0:0/96")
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
"""The comparisons of numbers by Sigma's names."""


def any_text(field: Field, values: Sequence[str], *, cased: bool) -> Comparison:
    """The field equals one of `values`; unless `cased`, the case of ASCII letters aside."""
    alike = Texts(frozenset(map(folded, values)))
    texts = sorted(set(values) if cased else alike.named)
    stored = field.expression if cased else FoldedCase(field.expression)
    return Comparison(
        stored == texts[0] if len(texts) == 1 else stored.in_(texts),
        values=len(values),
        holds=present(field, alike),
        # What is not there in this case may be there in another.
        fails={} if cased else other(field, alike),
    )


def like(field: Field, value: SigmaString, *, cased: bool) -> Comparison:
    """The field matches `value`, in which * stands for any text and ? for one character."""
    how = cased_like if cased else folded_like
    return Comparison(how(field.expression, value), holds=present(field))


def matches(field: Field, regex: Regex) -> Comparison:
    """The field holds a match of `regex`."""
    return Comparison(holds_match(field.expression, regex), holds=present(field))


def any_value(field: Field, values: Sequence[float | IPAddress]) -> Comparison:
    """The field equals one of `values`."""
    same = spans((each, each) for each in map(_number, values))
    return Comparison(
        field.expression == values[0] if len(values) == 1 else field.expression.in_(values),
        values=len(values),
        holds=present(field, same),
        fails=other(field, same),
    )


def compared(field: Field, modifier: str, value: float) -> Comparison:
    """The field is greater (gt), at least (gte), less (lt) or at most (lte) `value`."""
    some = ordered(field, modifier, value)
    return Comparison(COMPARE[modifier](field.expression, value), holds=present(field, some), fails=other(field, some))


def boolean(field: Field, *, value: bool) -> Comparison:
    """The field is true, or false."""
    side: Spans = ((float(value), float(value)),)
    return Comparison(
        field.expression == field.stored[value],
        holds=present(field, side),
        fails=present(field, ((float(not value), float(not value)),)),
    )


def exists(field: Field, *, there: bool) -> Comparison:
    """The field is there, or missing."""
    known: tuple[Possible, Possible] = (present(field), absent(field))
    expression = field.expression.is_not(None) if there else field.expression.is_(None)
    return Comparison(expression, holds=known[not there], fails=known[there])


def in_network(field: Field, network: IPv4Network | IPv6Network) -> Comparison:
    """The field lies in the network."""
    ranges = network_ranges(network)
    some = spans((_number(low), _number(high)) for low, high in ranges)
    return Comparison(
        or_(*(field.expression.between(low, high) for low, high in ranges)),
        values=4,
        holds=present(field, some),
        fails=other(field, some),
    )


def network_ranges(network: IPv4Network | IPv6Network) -> list[tuple[IPAddress, IPAddress]]:
    """First and last address of the network's parts. IPv4 is stored inside IPv6, but is no part of its networks."""
    low, high = network[0], network[-1]
    if isinstance(network, IPv4Network) or not network.supernet_of(_MAPPED) or network == _MAPPED:
        return [(low, high)]
    below = IPv6Address(int(_MAPPED[0]) - 1)
    above = IPv6Address(int(_MAPPED[-1]) + 1)
    return [(low, below), (above, high)]


def same_as(field: Field, against: Field, way: str, *, cased: bool) -> Comparison:
    """The field equals the field `against`, or contains it, or starts or ends with it (texts).

    They are not of opposite directions.
    """
    one, two = field.expression, against.expression
    if field.kind in (Kind.TEXT, Kind.CHOICE) and not cased:
        one, two = FoldedCase(one), FoldedCase(two)
    return Comparison(_FIELDS[way](one, two), values=0, holds={**present(field), **present(against)})


def _ends(one: ColumnElement[Any], two: ColumnElement[Any]) -> ColumnElement[bool]:
    shorter = func.length(two) <= func.length(one)
    return and_(shorter, func.substr(one, func.length(one) - func.length(two) + 1) == two)


_FIELDS: dict[str, Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[bool]]] = {
    "": operator.eq,
    "startswith": lambda one, two: func.substr(one, 1, func.length(two)) == two,
    "endswith": _ends,
    "contains": lambda one, two: Position(one, two) > 0,
}


def _number(value: float | IPAddress) -> float:
    return value if isinstance(value, int | float) else int.from_bytes(packed(value))
