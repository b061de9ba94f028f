"""What is known of the rows behind an alert."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over distinct rows, and the highest anomaly score among them."""

    attempted: int = 0
    established: int = 0
    refused: int = 0
    timed_out: int = 0
    failed: int = 0
    score: float | None = None

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            attempted=self.attempted + other.attempted,
            established=self.established + other.established,
            refused=self.refused + other.refused,
            timed_out=self.timed_out + other.timed_out,
            failed=self.failed + other.failed,
            score=max((score for score in (self.score, other.score) if score is not None), default=None),
        )

    @property
    def magnitude(self) -> int:
        """How large the incident is, in connects.

        An attempt and its outcome can lie in different snapshots, and inbound connections have no attempt: the larger
        of both counts.
        """
        return max(self.attempted, self.established + self.refused + self.timed_out + self.failed)


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many values a field takes among the rows, and the value when it is one. Unknown values do not count."""

    count: int = 0
    sole: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an alert's sentence is made of."""

    duration: timedelta
    totals: Totals
    values: Mapping[str, Distinct] = field(default_factory=dict)
    """By field: direction, user, login_user, executable, address, port."""
    explanation: str | None = None
    """Of the strangest row."""

    def of(self, name: str) -> Distinct:
        """The values of one field."""
        return self.values.get(name, Distinct())
