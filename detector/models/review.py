"""What would become normal, the strangest first.

During burn-in there are no scores, and an intruder who was there from the start would be learnt. What is rare among all
that a host does is therefore shown to a person. What comes of the answers is in `said`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from math import log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A key of a host, and how rare it is among the others."""

    row: Mapping[str, Any]
    rarity: float
    """-log10 of the shares of keys that have its program, its port, its network and its actor, added up."""
    why: Mapping[str, int]
    """How many keys have the same, rarest first: "program", "port", "network", "actor"."""


def rank(rows: Iterable[Mapping[str, Any]]) -> list[Ranked]:
    """The keys of one host, each with the columns of `connection_keys`, the rarest first.

    Keys are counted, not connects: however often one connects, it is one.
    """
    parts = [(row, _parts(row)) for row in rows]
    counts = Counter(each for _, of_row in parts for each in of_row.items())
    ranked = []
    for row, of_row in parts:
        same = {name: counts[name, value] for name, value in of_row.items()}
        rarity = sum(log10(len(parts) / number) for number in same.values())
        why = dict(sorted(same.items(), key=lambda each: each[1]))
        ranked.append(Ranked(row=row, rarity=rarity, why=why))
    return sorted(ranked, key=lambda each: (-each.rarity, each.row["first_seen"], each.row["key_id"]))


def _parts(row: Mapping[str, Any]) -> dict[str, Any]:
    direction = row["direction"]
    return {
        "program": (direction, row["executable"] or row["command"], row["script"]),
        "port": (direction, row["protocol"], row["remote_port"] or row["local_port"]),
        "network": (direction, _network(row["remote_address"])),
        "actor": (direction, row["login_user"] or row["user"]),
    }


def _network(address: IPv4Address | IPv6Address | None) -> str | None:
    if address is None:
        return None
    return str(ip_network((address, 24 if isinstance(address, IPv4Address) else 64), strict=False))
