"""What may stand after a field's name: which of Sigma's modifiers each type of field takes, and which go together."""

from __future__ import annotations

from dataclasses import dataclass

from detector.ruleset.fields import Field, Kind
from detector.ruleset.wording import nearest, shown

EXISTS = "exists"
"""Asks whether a field is there at all."""
LIKE = ("contains", "startswith", "endswith")
"""Say which part of a text is compared."""
FLAGS = ("i", "m", "s")
"""Change how a regular expression is read."""
ORDERED = ("gt", "gte", "lt", "lte")
"""Compare numbers."""

_TEXT = (*LIKE, "re", *FLAGS, "cased", "fieldref", "expand", "neq", "all", EXISTS)
_NUMBER = (*ORDERED, "fieldref", "expand", "neq", EXISTS)

MODIFIERS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: _TEXT,
    Kind.CHOICE: _TEXT,
    Kind.INTEGER: _NUMBER,
    Kind.NUMBER: tuple(each for each in _NUMBER if each != "expand"),
    Kind.ADDRESS: ("cidr", "fieldref", "expand", "neq", EXISTS),
    Kind.BOOLEAN: (),
    Kind.OUTCOME: (),
}
"""The modifiers that make sense for each type of field."""

_LONG_FLAGS = {"ignorecase": "i", "multiline": "m", "dotall": "s"}
_ENCODED = "looks for encoded text, and no field here holds any; remove it"
_OF_TIME = "compares a part of a time, and no field here is one; remove it"
_WIDE = "looks for text of two bytes a letter, as Windows has it; remove it"
_REFUSED = {
    "base64": _ENCODED,
    "base64offset": _ENCODED,
    **dict.fromkeys(("utf16", "utf16be", "utf16le", "wide"), _WIDE),
    "windash": "is about options of Windows' commands, and no field here is a command line; remove it",
    **dict.fromkeys(("minute", "hour", "day", "week", "month", "year"), _OF_TIME),
    **{long: f"is written |{short} here" for long, short in _LONG_FLAGS.items()},
}
# At most one of these says how the field is compared.
_WAYS = (*LIKE, "re", "cidr", *ORDERED, EXISTS)
_APART = {
    EXISTS: (),
    **dict.fromkeys(LIKE, ("cased", "fieldref", "expand", "neq", "all")),
    "re": (*FLAGS, "neq", "all"),
    "cidr": ("neq",),
    **dict.fromkeys(ORDERED, ()),
}
_ADVICE = {
    ("cidr", "expand"): "|expand takes lists of networks by itself; remove |cidr",
    ("re", "cased"): "|re tells capital letters apart unless it says |i; remove |cased",
    ("re", "expand"): "a regular expression takes no lists; write |contains, |startswith or |endswith",
    ("fieldref", "expand"): "a list is no field; keep one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Modifiers:
    """The modifiers of one line of a selection."""

    way: str = ""
    """How the field is compared: one of LIKE or ORDERED, re, cidr or exists; empty: it is equal."""
    flags: frozenset[str] = frozenset()
    cased: bool = False
    fieldref: bool = False
    expand: bool = False
    negated: bool = False
    every: bool = False
    """All values have to match, not any of them."""


class UnfitModifierError(Exception):
    """Modifiers that the field cannot take: what is wrong, and what to write instead."""


def read_modifiers(field: Field, names: list[str]) -> Modifiers:
    """The modifiers `names` of `field`, in the order in which they are written.

    Raises:
        UnfitModifierError: what is wrong, and what to write instead.
    """
    for name in names:
        _check_known(field, name)
    for name in names:
        if names.count(name) > 1:
            raise UnfitModifierError(f"|{name} stands there twice; keep one")
    ways = [name for name in names if name in _WAYS]
    if len(ways) > 1:
        raise UnfitModifierError(f"the modifiers |{'|'.join(ways)} exclude each other; keep one")
    way = ways[0] if ways else ""
    _check_together(names, way)
    return Modifiers(
        way=way,
        flags=frozenset(names).intersection(FLAGS),
        cased="cased" in names,
        fieldref="fieldref" in names,
        expand="expand" in names,
        negated="neq" in names,
        every="all" in names,
    )


def _check_known(field: Field, name: str) -> None:
    if name in _REFUSED:
        raise UnfitModifierError(f"|{name} {_REFUSED[name]}")
    everything = sorted({each for several in MODIFIERS.values() for each in several})
    if name not in everything:
        raise UnfitModifierError(f"unknown modifier {shown(name)}; {nearest(name, everything)}")
    fitting = MODIFIERS[field.kind]
    if name not in fitting:
        instead = f"use {', '.join(f'|{each}' for each in fitting)} or list values" if fitting else "remove it"
        raise UnfitModifierError(f"{field.name} ({field.kind}) cannot take |{name}; {instead}")


def _check_together(names: list[str], way: str) -> None:
    for name in names:
        if name in FLAGS and way != "re":
            raise UnfitModifierError(f"|{name} is about regular expressions; write |re|{name}, or remove it")
        if way and name != way and name not in _APART[way]:
            advice = _ADVICE.get((way, name), f"the modifiers |{way}|{name} exclude each other; keep one")
            raise UnfitModifierError(advice)
    if "fieldref" in names and "expand" in names:
        raise UnfitModifierError(_ADVICE["fieldref", "expand"])
    # As Sigma reads them: what changes another one stands behind it.
    for first, then in (("re", FLAGS), ("fieldref", LIKE), ("cased", ("fieldref",))):
        for name in names:
            if first in names and name in then and names.index(name) < names.index(first):
                raise UnfitModifierError(f"|{name} stands behind |{first}; write |{first}|{name}")
