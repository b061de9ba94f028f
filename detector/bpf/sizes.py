"""How much room the kernel programs are given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries of the maps: keys of a snapshot, processes beyond them, attempts under way, and what has a number."""

    counts: int
    folded: int
    pending: int
    named: int
