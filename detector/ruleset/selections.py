"""Reads the selections of a detection section: fields with modifiers and values, each fault at its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sigma.rule.detection import SigmaDetectionItem
from sigma.types import SigmaString

from detector.ruleset import compare
from detector.ruleset.categories import unknown
from detector.ruleset.conditions import AllOf, AnyOf, Comparison, Condition, OutcomeIs
from detector.ruleset.fields import Field, Kind
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from detector.ruleset.documents import Faults, Place
    from detector.ruleset.events import Category

_NUMBERS = (Kind.INTEGER, Kind.NUMBER)
_TEXTS = (Kind.TEXT, Kind.CHOICE)


def read_selection(definition: Any, place: Place, category: Category, faults: Faults) -> Condition | None:
    """A mapping (all of it holds) or a list of mappings (one of them holds); None when anything in it is refused."""
    if isinstance(definition, dict):
        return _all_of(definition, place, category, faults)
    alternatives = definition if isinstance(definition, list) else [definition]
    parts: list[Condition | None] = []
    for index, each in enumerate(alternatives):
        at = (*place, index)
        if isinstance(each, dict):
            parts.append(_all_of(each, at, category, faults))
        elif each is not None:
            faults.add(f"{shown(each)} names no field; write 'Field: value', such as 'Image: /usr/bin/nc'", *at)
            parts.append(None)
    return _joined(AnyOf, parts)


def _joined(how: type[AllOf | AnyOf], parts: list[Condition | None]) -> Condition | None:
    known = tuple(part for part in parts if part is not None)
    if not known or len(known) < len(parts):
        return None
    return known[0] if len(known) == 1 else how(known)


def _all_of(definition: dict[str, Any], place: Place, category: Category, faults: Faults) -> Condition | None:
    return _joined(AllOf, [_item(key, value, (*place, key), category, faults) for key, value in definition.items()])


def _item(key: str, value: Any, place: Place, category: Category, faults: Faults) -> Condition | None:
    name, *modifiers = key.split("|")
    if not name:
        faults.add(f"{shown(key)} names no field; write 'Field|modifier: value'", *place)
    elif name not in category.fields:
        faults.add(unknown(name, category, category.fields), *place)
    elif fault := _misfit(category.fields[name], modifiers):
        faults.add(fault, *place)
    elif value is not None:
        placed = [(each, (*place, index)) for index, each in enumerate(value)] if isinstance(value, list) else None
        item = _Item(field=category.fields[name], modifiers=tuple(modifiers), place=place, faults=faults)
        return item.condition(placed or [(value, place)])
    return None


def _misfit(known: Field, modifiers: list[str]) -> str | None:
    fitting = compare.MODIFIERS[known.kind]
    everything = sorted({each for several in compare.MODIFIERS.values() for each in several})
    for modifier in modifiers:
        if modifier not in everything:
            return f"unknown modifier {shown(modifier)}; {nearest(modifier, everything)}"
        if modifier not in fitting:
            instead = f"use {', '.join(f'|{each}' for each in fitting)} or list values" if fitting else "remove it"
            return f"{known.name} ({known.kind}) cannot take |{modifier}; {instead}"
    alone = compare.EXISTS in modifiers and len(modifiers) > 1
    if alone or len([each for each in modifiers if each != "all"]) > 1 or modifiers.count("all") > 1:
        return f"the modifiers |{'|'.join(modifiers)} exclude each other; keep one"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One line of a selection: a field with modifiers, and its values."""

    field: Field
    modifiers: tuple[str, ...]
    place: Place
    faults: Faults

    def condition(self, placed: list[tuple[Any, Place]]) -> Condition | None:
        single = self.field.kind in _NUMBERS or compare.EXISTS in self.modifiers
        if single and self.modifiers and len(placed) > 1:
            what = "is said once" if compare.EXISTS in self.modifiers else "compares with one number"
            self.faults.add(f"|{self.modifiers[0]} {what}; write one value", *self.place)
            return None
        checked = []
        for value, place in placed:
            if value is None:
                continue
            try:
                checked.append(self._checked(value))
            except compare.UnfitValueError as fault:
                self.faults.add(str(fault), *place)
        if len(checked) < len(placed):
            return None
        if self.field.kind is Kind.OUTCOME:
            return OutcomeIs(frozenset(checked), self.place)
        compared: list[Condition | None] = [each for each in checked if isinstance(each, Comparison)]
        plain = [each for each in checked if not isinstance(each, Comparison)]
        if "all" in self.modifiers:
            return _joined(AllOf, [*compared, *(self._equal([value]) for value in plain)])
        return _joined(AnyOf, [self._equal(plain), *compared] if plain else compared)

    def _checked(self, value: Any) -> Any:
        """A comparison, or a plain value that can be one of a list.

        Raises:
            UnfitValueError: what is wrong, and what to write instead.
        """
        known = self.field
        modifiers = [modifier for modifier in self.modifiers if modifier != "all"]
        if isinstance(value, dict | list):
            raise compare.UnfitValueError(f"{known.name} takes a value or a list of values; remove the nesting")
        if compare.EXISTS in modifiers:
            return Comparison(compare.exists(known, value))
        match known.kind:
            case Kind.TEXT | Kind.CHOICE:
                return self._text(compare.check_text(known, value, whole=not modifiers), modifiers)
            case Kind.INTEGER | Kind.NUMBER:
                number = compare.check_number(known, value)
                return Comparison(compare.compared(known, modifiers[0], number)) if modifiers else number
            case Kind.BOOLEAN:
                return Comparison(compare.boolean(known, value))
            case Kind.OUTCOME:
                return compare.check_outcome(known, value)
            case Kind.ADDRESS if modifiers:
                return Comparison(compare.in_network(known, value), values=4)
            case Kind.ADDRESS:
                return compare.check_address(known, value)

    def _text(self, text: str, modifiers: list[str]) -> Comparison | str:
        # Sigma's own reading of wildcards, escapes and modifiers.
        parsed = SigmaDetectionItem.from_mapping("|".join((self.field.name, *modifiers)), text).value
        patterns = [each for each in parsed if isinstance(each, SigmaString)]
        if any(pattern.contains_special() for pattern in patterns):
            return Comparison(compare.like(self.field, patterns[0]))
        return "".join(part for pattern in patterns for part in pattern.s if isinstance(part, str))

    def _equal(self, values: list[Any]) -> Comparison:
        if self.field.kind in _TEXTS:
            expression = compare.any_text(self.field, values)
        else:
            expression = compare.any_value(self.field, values)
        return Comparison(expression, values=len(values))
