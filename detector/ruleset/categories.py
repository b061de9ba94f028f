"""The kinds of events by the names that `logsource` calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.ruleset.capture_events import CAPTURE
from detector.ruleset.connection_events import CONNECTIONS
from detector.ruleset.wording import listed, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detector.ruleset.events import Category

CATEGORIES: dict[str, Category] = {each.name: each for each in (CONNECTIONS, CAPTURE)}
"""All of them."""


def category_of(content: Any) -> Category:
    """The kind of events that a single-event rule looks at; connections where it does not say."""
    source = content.get("logsource")
    named = source.get("category") if isinstance(source, dict) else None
    return CATEGORIES.get(named, CONNECTIONS) if isinstance(named, str) else CONNECTIONS


def unknown(name: str, category: Category, known: Iterable[str]) -> str:
    """What is wrong with `name`, which is none of the fields of `category` that are `known` at its place."""
    other = next((each for each in CATEGORIES.values() if name in each.fields and each is not category), None)
    if other is not None:
        return f"{name} is a field of the category {other.name}, and this is {category.name}; {listed(known)}"
    return f"unknown field {shown(name)}; {nearest(name, known)}"
