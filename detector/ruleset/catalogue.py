"""All that stands in the rule files, in force or not, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector.domain import Severity
    from detector.ruleset.evaluate import Rule
    from detector.ruleset.filters import Filter


class State(StrEnum):
    """Whether a document of a rule file is in force."""

    ACTIVE = "active"
    FEEDING = "for correlations"
    """It reports nothing by itself."""
    WAITING = "waiting for list"
    """It cannot match before a list that it names is filled."""
    DISABLED = "disabled"
    REPLACED = "replaced"
    """A rule of the same id, in a folder that is named later, has its place."""
    REFUSED = "refused"
    """Something in its file is wrong."""
    ENDED = "ended"
    """A filter past its end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """A rule, a correlation or a filter."""

    rule_id: str
    name: str | None
    title: str
    kind: str
    """event, correlation or filter."""
    severity: Severity | None
    """None of a filter, and where what stands there is no severity."""
    state: State
    path: str
    line: int
    content: Mapping[str, Any]
    """What stands there; of a refused one anything may."""
    why: str = ""
    """Why it is not in force, or until when it is or is not."""
    rule: Rule | None = None
    """Of a rule that is not refused or replaced."""
    filter: Filter | None = None
    """Of a filter that is not."""
