"""What may stand on a line of a named list: an address or network, a port or a range of them, or a name."""

from __future__ import annotations

from enum import StrEnum
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING

from detector.ruleset.values import UnfitValueError
from detector.ruleset.wording import shown
from detector.store.columns import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAST_PORT = 65535
# Twice as many bytes as UTF-8 may take of it are an index entry of Postgres, which holds 2704.
_LONGEST_NAME = 500
_V4_BITS, _BITS = 32, 128
_MAPPED = 0xFFFF << _V4_BITS
_MAPPED_LAST = _MAPPED | 0xFFFF_FFFF

Span = tuple[int, int]
"""First and last of some addresses or ports; addresses as numbers of 128 bits, IPv4 mapped."""


class ListKind(StrEnum):
    """What the entries of a list are."""

    NETWORKS = "networks"
    PORTS = "ports"
    NAMES = "names"


def kind_of(entries: Iterable[str]) -> ListKind:
    """What a list seems to hold that does not say so: networks if there is one in it, else ports if all are numbers."""
    every_is_port = True
    for entry in entries:
        if _is_network(entry):
            return ListKind.NETWORKS
        every_is_port = every_is_port and entry.isascii() and entry.replace("-", "").isdecimal()
    return ListKind.PORTS if every_is_port else ListKind.NAMES


def read_network(entry: str) -> list[Span]:
    """The spans of an address or network: IPv4 is stored inside IPv6, but is no part of its networks.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    address, slash, prefix = entry.partition("/")
    packed = _packed(address)
    bits = _V4_BITS if packed is not None and len(packed) * 8 == _V4_BITS else _BITS
    length = int(prefix) if prefix.isascii() and prefix.isdecimal() and len(prefix) <= len("128") else bits + 1
    if packed is None or (slash and length > bits):
        raise UnfitValueError(f"{shown(entry)} is no address or network; write one such as 192.0.2.7 or 10.0.0.0/8")
    low = int.from_bytes(packed)
    beyond = (1 << (bits - length)) - 1 if slash else 0
    if low & beyond:
        network = (low & ~beyond).to_bytes(bits // 8)
        proper = unpacked(network) if bits == _BITS else ".".join(map(str, network))
        raise UnfitValueError(f"{shown(entry)} has bits set beyond its prefix; write {proper}/{length}")
    if bits == _V4_BITS:
        low |= _MAPPED
    high = low | beyond
    if (low < _MAPPED and high > _MAPPED_LAST) or (low, high) == (0, _MAPPED_LAST):
        return [span for span in ((low, _MAPPED - 1), (_MAPPED_LAST + 1, high)) if span[0] <= span[1]]
    return [(low, high)]


def read_port(entry: str) -> Span:
    """The span of a port, or of a range such as 6881-6889.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    first, dash, last = entry.partition("-")
    if not all(each.isascii() and each.isdecimal() and len(each) <= len("65535") for each in (first, last or first)):
        raise UnfitValueError(f"{shown(entry)} is no port; write one such as 22, or a range such as 6881-6889")
    low, high = int(first), int(last) if dash and last else int(first)
    if high > _LAST_PORT or low > high or (dash and not last):
        raise UnfitValueError(f"{shown(entry)} is no range of ports; write one within 0-{_LAST_PORT}, smaller first")
    return low, high


def read_name(entry: str) -> str:
    """A name as it stands.

    Raises:
        UnfitValueError: what is wrong, and what to write instead.
    """
    if len(entry) > _LONGEST_NAME:
        raise UnfitValueError(f"the name is longer than {_LONGEST_NAME} characters; shorten it")
    if any(sign in entry for sign in "*?"):
        raise UnfitValueError(
            f"{shown(entry)} has a wildcard, and names are taken as they stand; write the part that is always there, "
            "and |startswith|expand, |endswith|expand or |contains|expand in the rule"
        )
    if not entry.isprintable():
        raise UnfitValueError(f"{shown(entry)} holds an unprintable character; remove it")
    return entry


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sorted, those that overlap or meet put together."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            if high > found[-1][1]:
                found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def _is_network(entry: str) -> bool:
    return ("." in entry or ":" in entry) and _packed(entry.partition("/")[0]) is not None


def _packed(address: str) -> bytes | None:
    # The C library's, since the one of ipaddress takes a second for 100,000.
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        # ValueError: a NUL.
        return None
