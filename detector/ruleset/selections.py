"""Reads the selections of a detection section: fields with modifiers and values, each fault at its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sigma.rule.detection import SigmaDetectionItem
from sigma.types import SigmaString

from detector.ruleset import compare
from detector.ruleset.categories import unknown
from detector.ruleset.conditions import AllOf, AnyOf, Comparison, Condition, Not, OutcomeIs, possible
from detector.ruleset.expansion import expanded
from detector.ruleset.fields import MOST, Field, Kind
from detector.ruleset.lists import NO_LISTS, Lists
from detector.ruleset.modifiers import EXISTS, ORDERED, Modifiers, UnfitModifierError, read_modifiers
from detector.ruleset.possible import Never
from detector.ruleset.regex import RegexError
from detector.ruleset.regex_sql import Regex
from detector.ruleset.texts import is_like
from detector.ruleset.values import (
    UnfitValueError,
    check_address,
    check_flag,
    check_network,
    check_number,
    check_outcome,
    check_text,
)
from detector.ruleset.wording import listed, shown

if TYPE_CHECKING:
    from detector.ruleset.documents import Faults, Place
    from detector.ruleset.events import Category


def read_selection(
    definition: Any, place: Place, category: Category, faults: Faults, lists: Lists = NO_LISTS
) -> Condition | None:
    """A mapping (all of it holds) or a list of mappings (one of them holds); None when anything in it is refused."""
    scope = _Scope(category, faults, lists)
    if isinstance(definition, dict):
        return _all_of(definition, place, scope)
    alternatives = definition if isinstance(definition, list) else [definition]
    parts: list[Condition | None] = []
    for index, each in enumerate(alternatives):
        at = (*place, index)
        if isinstance(each, dict):
            parts.append(_all_of(each, at, scope))
        elif each is not None:
            faults.add(f"{shown(each)} names no field; write 'Field: value', such as 'Image: /usr/bin/nc'", *at)
            parts.append(None)
    return _joined(AnyOf, parts)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a selection can refer to, and where its faults go."""

    category: Category
    faults: Faults
    lists: Lists


def _joined(how: type[AllOf | AnyOf], parts: list[Condition | None]) -> Condition | None:
    known = tuple(part for part in parts if part is not None)
    if not known or len(known) < len(parts):
        return None
    return known[0] if len(known) == 1 else how(known)


def _all_of(definition: dict[str, Any], place: Place, scope: _Scope) -> Condition | None:
    return _joined(AllOf, [_item(key, value, (*place, key), scope) for key, value in definition.items()])


def _item(key: str, value: Any, place: Place, scope: _Scope) -> Condition | None:
    name, *modifiers = key.split("|")
    fields = scope.category.fields
    if not name:
        scope.faults.add(f"{shown(key)} names no field; write 'Field|modifier: value'", *place)
    elif name not in fields:
        scope.faults.add(unknown(name, scope.category, fields), *place)
    else:
        try:
            read = read_modifiers(fields[name], modifiers)
        except UnfitModifierError as fault:
            scope.faults.add(str(fault), *place)
        else:
            placed = [(each, (*place, at)) for at, each in enumerate(value)] if isinstance(value, list) else None
            item = _Item(field=fields[name], modifiers=read, place=place, scope=scope)
            return None if value is None else item.condition(placed or [(value, place)])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One line of a selection: a field with modifiers, and its values."""

    field: Field
    modifiers: Modifiers
    place: Place
    scope: _Scope

    def condition(self, placed: list[tuple[Any, Place]]) -> Condition | None:
        way = self.modifiers.way
        if way in (EXISTS, *ORDERED) and len(placed) > 1:
            what = "is said once" if way == EXISTS else "compares with one number"
            self.scope.faults.add(f"|{way} {what}; write one value", *self.place)
            return None
        checked: list[Any] = []
        for value, place in placed:
            if value is None:
                continue
            try:
                checked.append(self._checked(value))
            except UnfitValueError as fault:
                self.scope.faults.add(str(fault), *place)
        if len(checked) < len(placed):
            return None
        if self.field.kind is Kind.OUTCOME:
            return OutcomeIs(frozenset(checked), self.place)
        found = self._every(checked) if self.modifiers.every else self._any(checked)
        return Not(found) if found is not None and self.modifiers.negated else found

    def _every(self, checked: list[Any]) -> Condition | None:
        return _joined(AllOf, [self._any([each]) for each in checked])

    def _any(self, checked: list[Any]) -> Condition | None:
        conditions: list[Condition | None] = [each for each in checked if isinstance(each, Condition)]
        plain = [each for each in checked if not isinstance(each, Condition)]
        return _joined(AnyOf, [self._equal(plain), *conditions] if plain else conditions)

    def _checked(self, value: Any) -> Any:
        """A condition, or a plain value that can be one of a list.

        Raises:
            UnfitValueError: what is wrong, and what to write instead.
        """
        if isinstance(value, dict | list):
            raise UnfitValueError(f"{self.field.name} takes a value or a list of values; remove the nesting")
        if self.modifiers.expand:
            found = expanded(self.field, self.modifiers, value, self.scope.lists)
            return self._any([self._single(text) for text in found]) if isinstance(found, list) else found
        if self.scope.lists.is_name(value):
            raise UnfitValueError(
                f"{shown(value)} is a list, and |expand compares with lists; write {self._key()}|expand"
            )
        return self._single(value)

    def _key(self) -> str:
        return "|".join((self.field.name, *filter(None, (self.modifiers.way,))))

    def _single(self, value: Any) -> Any:
        known, way = self.field, self.modifiers.way
        if way == EXISTS:
            if not isinstance(value, bool):
                raise UnfitValueError(f"|{EXISTS} is true or false, not {shown(value)}; write true or false")
            return compare.exists(known, there=value)
        if self.modifiers.fieldref:
            return self._other_field(value)
        match known.kind:
            case Kind.TEXT | Kind.CHOICE:
                return self._text(check_text(known, value, whole=not way))
            case Kind.INTEGER | Kind.NUMBER:
                return self._ordered(check_number(known, value)) if way else check_number(known, value)
            case Kind.BOOLEAN:
                return compare.boolean(known, value=check_flag(known.name, value))
            case Kind.OUTCOME:
                return check_outcome(known, value)
            case Kind.ADDRESS if way:
                return compare.in_network(known, check_network(value))
            case Kind.ADDRESS:
                return check_address(known, value)

    def _ordered(self, number: float) -> Comparison:
        found = compare.compared(self.field, self.modifiers.way, number)
        if isinstance(possible(found), Never) or not found.holds[self.field.name].some:
            raise UnfitValueError(
                f"{self.field.name} is never {_SAID[self.modifiers.way]} {number:g}; {self._bounds()}"
            )
        return found

    def _bounds(self) -> str:
        known = self.field
        return (
            f"write a number from {known.minimum:g} to {known.maximum:.0f}"
            if known.maximum < MOST
            else "write a larger one"
        )

    def _text(self, text: str) -> Comparison | str:
        known, way = self.field, self.modifiers.way
        if way == "re":
            try:
                return compare.matches(known, Regex.read(text, self.modifiers.flags))
            except RegexError as fault:
                raise UnfitValueError(str(fault)) from None
        # Sigma's own reading of wildcards, escapes and modifiers.
        parsed = SigmaDetectionItem.from_mapping(f"{known.name}|{way}" if way else known.name, text).value
        patterns = [each for each in parsed if isinstance(each, SigmaString)]
        if any(pattern.contains_special() for pattern in patterns):
            if known.choices and not any(is_like(choice, patterns[0]) for choice in known.choices):
                raise UnfitValueError(f"no {known.name} matches {shown(text)}; {listed(known.choices)}")
            return compare.like(known, patterns[0], cased=self.modifiers.cased)
        return "".join(part for pattern in patterns for part in pattern.s if isinstance(part, str))

    def _other_field(self, value: Any) -> Comparison:
        known, fields = self.field, self.scope.category.fields
        if not isinstance(value, str) or value not in fields:
            raise UnfitValueError(f"|fieldref names a field: {unknown(str(value), self.scope.category, fields)}")
        against = fields[value]
        if against is known:
            raise UnfitValueError(f"{known.name} is compared with itself; name another field")
        if None is not known.outbound is not against.outbound is not None:
            raise UnfitValueError(
                f"a connection has a {known.name} or a {against.name}, never both; name another field"
            )
        if _FAMILIES[against.kind] != _FAMILIES[known.kind] or known.kind in (Kind.BOOLEAN, Kind.OUTCOME):
            raise UnfitValueError(
                f"{known.name} ({known.kind}) cannot be compared with {against.name} ({against.kind}); "
                "name a field of its type"
            )
        return compare.same_as(known, against, self.modifiers.way, cased=self.modifiers.cased)

    def _equal(self, values: list[Any]) -> Comparison:
        if self.field.kind in (Kind.TEXT, Kind.CHOICE):
            return compare.any_text(self.field, values, cased=self.modifiers.cased)
        return compare.any_value(self.field, values)


_SAID = {"gt": "greater than", "gte": "at least", "lt": "less than", "lte": "at most"}
# Of two kinds of one family, values can be equal.
_FAMILIES = {**{kind: kind for kind in Kind}, Kind.CHOICE: Kind.TEXT, Kind.NUMBER: Kind.INTEGER}
