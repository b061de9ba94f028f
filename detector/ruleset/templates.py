"""Texts of new rules: one of each kind, to be written on, or one for what an alert was about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from detector.ruleset.exclusions import lines_of
from detector.ruleset.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date


def _head(title: str, level: str, author: str, day: date, *more: str) -> list[str]:
    return [
        f"title: {quoted(title)}",
        f"id: {uuid4()}",
        *more,
        "status: experimental",
        "description: |",
        "  What it finds and why that matters. What to do: whom to ask, what to look at.",
        f"author: {quoted(author)}",
        f"date: {day.isoformat()}",
        f"level: {level}",
    ]


def _source(category: str) -> list[str]:
    return ["logsource:", f"  category: {category}", "  product: linux"]


def _event(title: str, author: str, day: date) -> list[str]:
    return [
        *_head(title, "low", author, day),
        *_source("network_connection"),
        "detection:",
        "  selection:                  # all lines of a selection must hold",
        "    Initiated: true",
        "    DestinationPort: [23, 2323]",
        "  filter_ours:",
        "    DestinationIp|cidr: 10.0.0.0/8",
        "  condition: selection and not filter_ours",
        "falsepositives:",
        "  - What else looks like this",
    ]


def _correlation(title: str, author: str, day: date, kind: str, condition: str) -> list[str]:
    name = f"base_{uuid4().hex[:8]}"
    return [
        *_head(f"{title}: what is counted", "informational", author, day, f"name: {name}"),
        *_source("network_connection"),
        "detection:",
        "  selection:",
        "    Initiated: true",
        "    Protocol: tcp",
        "  condition: selection",
        "---",
        *_head(title, "low", author, day),
        "correlation:",
        f"  type: {kind}",
        f"  rules: [{name}]",
        "  group-by: [LoginUser, User, Image, DestinationIp]",
        "  timespan: 5m",
        f"  condition: {{{condition}}}",
        "falsepositives:",
        "  - What else looks like this",
    ]


def _count(title: str, author: str, day: date) -> list[str]:
    return _correlation(title, author, day, "event_count", "gte: 100")


def _values(title: str, author: str, day: date) -> list[str]:
    return _correlation(title, author, day, "value_count", "field: DestinationPort, gte: 20")


def _capture(title: str, author: str, day: date) -> list[str]:
    return [
        *_head(title, "low", author, day),
        *_source("capture"),
        "detection:",
        "  selection:",
        "    LostNames|gt: 0",
        "  condition: selection",
    ]


KINDS: Mapping[str, Callable[[str, str, date], list[str]]] = {
    "event": _event,
    "count": _count,
    "values": _values,
    "capture": _capture,
}
"""By what a rule of the kind looks at: single rows, how many connects, how many different values, how well snapshots
were taken."""


def of_kind(kind: str, title: str, author: str, day: date) -> str:
    """A sound rule of one of KINDS, to be written on."""
    return "\n".join(KINDS[kind](title, author, day)) + "\n"


def of_selection(selection: Mapping[str, Any], category: str, title: str, author: str, day: date) -> str:
    """A rule for whatever a selection holds for."""
    lines = [*_head(title, "low", author, day), *_source(category), "detection:", "  selection:"]
    return "\n".join([*lines, *lines_of(selection), "  condition: selection"]) + "\n"
