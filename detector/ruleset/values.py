"""Reads the values of a selection: what a field never is, is refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from detector.ruleset.fields import MOST, Field, Kind
from detector.ruleset.modifiers import EXISTS
from detector.ruleset.wording import nearest, shown

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from detector.domain import IPAddress

LONGEST_TEXT = 4096
"""The longest path that the kernel accepts (PATH_MAX); no field is longer."""


class UnfitValueError(Exception):
    """A value that its field never has: what is wrong, and what to write instead."""


def folded(text: str) -> str:
    """`text` with its ASCII letters in lower case."""
    return text.encode().lower().decode()


def check_text(field: Field, value: Any, *, whole: bool) -> str:
    """`value` as a text that the field may hold; `whole` when it stands for all of the field's text.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    if not isinstance(value, str):
        raise UnfitValueError(f"{field.name} is text, not {shown(value)}; put the value in quotes")
    if not value:
        raise UnfitValueError(f"{field.name} is never empty; to find it missing, write {field.name}|{EXISTS}: false")
    if len(value) > LONGEST_TEXT:
        raise UnfitValueError(f"the value is longer than {LONGEST_TEXT} characters; shorten it")
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


def check_flag(name: str, value: Any) -> bool:
    """`value` as true or false, for the field or modifier `name`; as text, too.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    said = str(value).lower() if isinstance(value, bool | str) else ""
    if said not in ("true", "false"):
        raise UnfitValueError(f"{name} is true or false, not {shown(value)}; write true or false")
    return said == "true"


def check_network(value: Any) -> IPv4Network | IPv6Network:
    """`value` as a network, written with its prefix length.

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
    return network
