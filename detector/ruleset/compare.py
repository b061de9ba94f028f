"""One field against one value, as SQL that gives the same rows on SQLite and Postgres."""

from __future__ import annotations

import operator
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from detector.ruleset.fields import MOST, Field, Kind
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sigma.types import SigmaString
    from sqlalchemy import ColumnElement
    from sqlalchemy.sql.compiler import SQLCompiler

    from detector.domain import IPAddress

_ESCAPE = "\\"
# The longest path that the kernel accepts (PATH_MAX); no field is longer.
_LONGEST_TEXT = 4096
_MAPPED = IPv6Network("::ffff:0:0/96")
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
"""The comparisons of numbers by Sigma's names."""
EXISTS = "exists"
"""The modifier that asks whether a field is there at all."""
_LIKE = ("contains", "startswith", "endswith")

MODIFIERS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: (*_LIKE, "all", EXISTS),
    Kind.CHOICE: (*_LIKE, "all", EXISTS),
    Kind.INTEGER: (*COMPARE, EXISTS),
    Kind.NUMBER: (*COMPARE, EXISTS),
    Kind.ADDRESS: ("cidr", EXISTS),
    Kind.BOOLEAN: (),
    Kind.OUTCOME: (),
}
"""The modifiers that make sense for each type of field."""


class UnfitValueError(Exception):
    """A value that its field never has: what is wrong, and what to write instead."""


class FoldedCase(FunctionElement[str]):
    """Lower case of ASCII letters alone, on both databases: what `folded` does to the value.

    SQLite's lower() knows no other letters, and Postgres' knows as many as the database's locale; in the locale "C"
    the two agree.
    """

    type = Text()
    inherit_cache = True


@compiles(FoldedCase)
def _fold(element: FoldedCase, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(FoldedCase, "postgresql")
def _fold_postgres(element: FoldedCase, compiler: SQLCompiler, **options: Any) -> str:
    return f'lower(({compiler.process(element.clauses, **options)}) COLLATE "C")'


def folded(text: str) -> str:
    """`text` with its ASCII letters in lower case."""
    return text.encode().lower().decode()


def any_text(field: Field, values: Sequence[str]) -> ColumnElement[bool]:
    """The field equals one of `values`, the case of ASCII letters aside."""
    texts = sorted({folded(value) for value in values})
    stored = FoldedCase(field.expression)
    return stored == texts[0] if len(texts) == 1 else stored.in_(texts)


def like(field: Field, value: SigmaString) -> ColumnElement[bool]:
    """The field matches `value`, in which * stands for any text and ? for one character."""
    return FoldedCase(field.expression).like(
        folded(value.convert(escape_char=_ESCAPE, wildcard_multi="%", wildcard_single="_", add_escaped=_ESCAPE)),
        escape=_ESCAPE,
    )


def check_text(field: Field, value: Any, *, whole: bool) -> str:
    """`value` as a text that the field may hold; `whole` when it stands for all of the field's text.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    if not isinstance(value, str):
        raise UnfitValueError(f"{field.name} is text, not {shown(value)}; put the value in quotes")
    if not value:
        raise UnfitValueError(f"{field.name} is never empty; to find it missing, write {field.name}|{EXISTS}: false")
    if len(value) > _LONGEST_TEXT:
        raise UnfitValueError(f"the value is longer than {_LONGEST_TEXT} characters; shorten it")
    if field.choices and whole and not any(c in value for c in "*?\\") and folded(value) not in field.choices:
        raise UnfitValueError(f"{field.name} is never {shown(value)}; {nearest(value, field.choices)}")
    return value


def check_number(field: Field, value: Any) -> int | float:
    """`value` as a number that the field may hold; digits in quotes count as a number where the field is an integer.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    whole = field.kind is Kind.INTEGER
    if whole and isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len("9" * 19):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        what = "a whole number" if whole else "a number"
        advice = "; for ranges use |gte and |lte" if isinstance(value, str) and set(value) & set("*?-,") else ""
        raise UnfitValueError(f"{field.name} is {what}, not {shown(value)}; write one such as {field.example}{advice}")
    if not field.minimum <= value <= field.maximum:
        top = f"between {field.minimum:g} and {field.maximum:.0f}" if field.maximum < MOST else "not negative"
        raise UnfitValueError(f"{field.name} is {top}, never {shown(value)}; write one such as {field.example}")
    return value if whole else float(value)


def any_value(field: Field, values: Sequence[float | IPAddress]) -> ColumnElement[bool]:
    """The field equals one of `values`."""
    return field.expression == values[0] if len(values) == 1 else field.expression.in_(values)


def compared(field: Field, modifier: str, value: float) -> ColumnElement[bool]:
    """The field is greater (gt), at least (gte), less (lt) or at most (lte) `value`."""
    expression: ColumnElement[bool] = COMPARE[modifier](field.expression, value)
    return expression


def boolean(field: Field, value: Any) -> ColumnElement[bool]:
    """The field is true, or false.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    said = str(value).lower() if isinstance(value, bool | str) else ""
    if said not in ("true", "false"):
        raise UnfitValueError(f"{field.name} is true or false, not {shown(value)}; write true or false")
    return field.expression == field.stored[said == "true"]


def exists(field: Field, value: Any) -> ColumnElement[bool]:
    """The field is there (true), or missing (false).

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    if not isinstance(value, bool):
        raise UnfitValueError(f"|{EXISTS} is true or false, not {shown(value)}; write true or false")
    return field.expression.is_not(None) if value else field.expression.is_(None)


def check_address(field: Field, value: Any) -> IPAddress:
    """`value` as an address; an IPv4-mapped one is the IPv4 address that it is.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    advice = f"write one such as {field.example}"
    if isinstance(value, str) and set(value) & set("/*?"):
        advice = f"for a network write {field.name}|cidr: 10.0.0.0/8"
    try:
        address = ip_address(value if isinstance(value, str) and "%" not in value else "")
    except ValueError:
        raise UnfitValueError(f"{field.name} is an address, not {shown(value)}; {advice}") from None
    return getattr(address, "ipv4_mapped", None) or address


def check_outcome(field: Field, value: Any) -> str:
    """`value` as the name of an outcome.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    outcome = str(value).lower()
    if outcome not in field.choices:
        raise UnfitValueError(f"{field.name} is never {shown(value)}; {nearest(outcome, field.choices)}")
    return outcome


def in_network(field: Field, value: Any) -> ColumnElement[bool]:
    """The field lies in the network `value`, written with its prefix length.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    text = value if isinstance(value, str) and "%" not in value else ""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise UnfitValueError(f"{shown(value)} is no network; write one such as 10.0.0.0/8") from None
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise UnfitValueError(f"{shown(value)} has bits set beyond its prefix; write {network}")
    return or_(*(field.expression.between(low, high) for low, high in _ranges(network)))


def _ranges(network: IPv4Network | IPv6Network) -> list[tuple[IPAddress, IPAddress]]:
    """First and last address of the network's parts. IPv4 is stored inside IPv6, but is no part of its networks."""
    low, high = network[0], network[-1]
    if isinstance(network, IPv4Network) or not network.supernet_of(_MAPPED) or network == _MAPPED:
        return [(low, high)]
    below = IPv6Address(int(_MAPPED[0]) - 1)
    above = IPv6Address(int(_MAPPED[-1]) + 1)
    return [(low, below), (above, high)]
