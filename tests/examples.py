"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> int:
    """So many thoroughly, else the share of them that is usual."""
    usual = settings().max_examples
    return max(3, number * usual // 100)
