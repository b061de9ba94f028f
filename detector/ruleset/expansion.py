"""Compares a field with a named list: `Field|expand: '%NAME%'`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_

from detector.ruleset import ranges
from detector.ruleset.conditions import Comparison
from detector.ruleset.fields import Kind
from detector.ruleset.list_entries import ListKind
from detector.ruleset.lists import placeholders
from detector.ruleset.possible import other, present, spans
from detector.ruleset.values import UnfitValueError
from detector.ruleset.wording import shown

if TYPE_CHECKING:
    from detector.ruleset.fields import Field
    from detector.ruleset.lists import Lists, NamedList
    from detector.ruleset.modifiers import Modifiers

# As many comparisons as a rule may make; see detector.ruleset.compile.
_MOST_WRITTEN_OUT = 400
_KINDS = {
    Kind.ADDRESS: ListKind.NETWORKS,
    Kind.INTEGER: ListKind.PORTS,
    Kind.TEXT: ListKind.NAMES,
    Kind.CHOICE: ListKind.NAMES,
}
# What can be looked up: see detector.ruleset.ranges.
_LOOKED_UP = ("", "startswith", "endswith")
_SPECIAL = frozenset("*?\\")


def expanded(field: Field, modifiers: Modifiers, value: Any, lists: Lists) -> Comparison | list[str]:
    """The comparison of `field` with the list that `value` names; or the texts that it stands for, to be read as if
    they were written in its place.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    found = placeholders(value) if isinstance(value, str) else []
    if len(found) != 1:
        what = "names several lists; write each as a value of its own" if found else "names no list; write '%NAME%'"
        raise UnfitValueError(f"{shown(value)} {what}")
    before, name, after = found[0]
    named = lists.find(name)
    if named.kind is not _KINDS[field.kind]:
        raise UnfitValueError(
            f"the list {shown(name)} holds {named.kind}, and {field.name} ({field.kind}) takes {_KINDS[field.kind]}; "
            "name another list"
        )
    if named.is_empty:
        return _nothing(field, name)
    if named.kind is ListKind.NAMES:
        return _texts(field, modifiers, named, before, after)
    if before or after:
        raise UnfitValueError(f"{shown(value)} holds more than the name of a list; write '%{name}%'")
    return (
        _ports(field, named) if named.kind is ListKind.PORTS else _looked_up(field, ranges.of_networks(named.networks))
    )


def _nothing(field: Field, name: str) -> Comparison:
    never = and_(field.expression.is_(None), field.expression.is_not(None))
    return Comparison(never, values=0, holds=present(field), empty_list=name)


def _looked_up(field: Field, wanted: ranges.Ranges, way: str = "") -> Comparison:
    return Comparison(ranges.holds(field.expression, wanted, way), holds=present(field), ranges=(wanted,))


def _ports(field: Field, named: NamedList) -> Comparison:
    some = spans(named.ports)
    single = [low for low, high in named.ports if low == high]
    wide = [span for span in named.ports if span[0] < span[1]]
    parts = [field.expression.between(low, high) for low, high in wide]
    return Comparison(
        or_(*parts, *([field.expression.in_(single)] if single else [])),
        values=len(single) + 2 * len(wide),
        holds=present(field, some),
        fails=other(field, some),
    )


def _texts(field: Field, modifiers: Modifiers, named: NamedList, before: str, after: str) -> Comparison | list[str]:
    plain = not _SPECIAL & set(before + after)
    if plain and modifiers.way in _LOOKED_UP and not modifiers.cased and not field.choices:
        texts = (f"{before}{name}{after}" for name in named.names)
        return _looked_up(field, ranges.of_names(texts, modifiers.way), modifiers.way)
    if len(named.names) > _MOST_WRITTEN_OUT:
        raise UnfitValueError(
            f"the list {shown(named.name)} has {len(named.names)} names, and at most {_MOST_WRITTEN_OUT} can be "
            "compared like this; write |startswith, |endswith or neither, without |cased and wildcards"
        )
    escaped = (name.replace("\\", "\\\\") for name in named.names)
    return [f"{before}{name}{after}" for name in escaped]
