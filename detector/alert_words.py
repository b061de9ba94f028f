"""What an alert says of itself in a few words.

The texts hold names as they are: whoever shows them makes them harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.domain import Alert

_NAMED = 3


def also_seen_text(alert: Alert) -> str:
    """The titles of the other rules that saw it as well; empty: none did."""
    return "; ".join(alert.also_seen_by.values())


def rules_text(alert: Alert) -> str:
    """Its rule, and the first of the others that saw it as well."""
    others = list(alert.also_seen_by.values())
    if not others:
        return alert.rule_title
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"{alert.rule_title} (also seen by: {'; '.join(others[:_NAMED])}{more})"
