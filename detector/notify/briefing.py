"""All that a message tells of an alert: beside itself what is normal, what the models saw, the rule, and the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.domain import Alert
    from detector.notify.charts import Chart

ADVICE = "What to do:"
"""How the sentence of a rule begins that whoever is woken by it looks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row behind an alert, in words. Names are as they came; messages make them harmless."""

    when: str
    """Of the end of its snapshot, UTC."""
    who: str
    program: str
    connection: str
    connects: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What is known of an alert. What is not known, or takes too long to find out, is empty."""

    alert: Alert
    normal: tuple[str, ...] = ()
    """Sentences: what its actor does otherwise."""
    model: tuple[str, ...] = ()
    """Sentences: what the models saw."""
    rule: tuple[str, ...] = ()
    """Sentences: what its rule looks for, what else may cause it, and how often it alerts."""
    rows: tuple[Row, ...] = ()
    """The first ones."""
    more_rows: int = 0
    """How many others are behind it."""
    chart: Chart | None = None
    chart_fault: str | None = None
    """Why there is none, where one belongs."""

    @property
    def about_capture(self) -> bool:
        """Whether the alert is about what was not counted: it has no connects."""
        alert = self.alert
        return not any((alert.attempted, alert.established, alert.refused, alert.timed_out, alert.failed))
