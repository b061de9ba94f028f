"""What mutes for a while, and until when: filters, and what disables rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from detector.ruleset.load import LoadedRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Something that ends."""

    what: str
    title: str
    until: datetime


def endings(loaded: LoadedRules) -> Iterator[Ending]:
    """All that has an end, past ones included."""
    for entry in loaded.entries:
        disabled = entry.rule.disabled if entry.rule is not None else None
        for what, until in (
            ("the filter", entry.filter.until if entry.filter is not None else None),
            ("what disables the rule", disabled.until if disabled is not None else None),
        ):
            if until is not None:
                yield Ending(what=what, title=entry.title, until=until)
