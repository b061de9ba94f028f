"""What is known of the rows behind an alert."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector.domain import Losses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from detector.domain import Scalar


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
            score=_higher(self.score, other.score),
        )

    @property
    def magnitude(self) -> int:
        """How large the incident is, in connects.

        An attempt and its outcome can lie in different snapshots, and inbound connections have no attempt: the larger
        of both counts.
        """
        return max(self.attempted, self.established + self.refused + self.timed_out + self.failed)


def _higher(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many values a field takes among the rows, and the value when it is one. Unknown values do not count."""

    count: int = 0
    sole: str | None = None


_NONE = Distinct()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFacts:
    """What the snapshots behind an alert about capture say."""

    host: str
    end: datetime
    """Of the last of them, as are `blind_since`, `self_test_failed` and `unseen`. The rest is of all of them."""
    blind_since: datetime | None = None
    self_test_failed: bool = False
    unseen: str = ""
    losses: Losses = field(default_factory=Losses)
    gaps: int = 0
    gap_seconds: float = 0.0
    """The sum of the gaps, without what the clock was set forward."""
    gap_end: datetime | None = None
    """Of the last of them."""
    forward_seconds: float = 0.0
    back_seconds: float = 0.0
    """How far the clock was set back, as a positive number."""
    late_seconds: float = 0.0
    """The most of all."""
    suspended_seconds: float = 0.0
    waited_seconds: float = 0.0
    """The most of all."""
    silent_seconds: float | None = None
    """Nothing came for so long after the last of them."""
    rules_refused: int = 0
    """So many rule files are refused."""
    rule_fault: str = ""
    """The first fault in them."""
    tampered: int = 0
    """In so many places what is stored is not what was written."""
    first_break: str = ""
    """The first of them."""
    set_aside: str | None = None
    """Where a damaged database is whose place another one took; of several the last."""
    programs: Distinct = field(default_factory=Distinct)
    """Executables whose destinations were not counted."""

    @property
    def blind_seconds(self) -> float:
        """For how long connects have not been counted."""
        # The clock may have been set back since.
        return max(0.0, (self.end - self.blind_since).total_seconds()) if self.blind_since is not None else 0.0

    @property
    def magnitude(self) -> int:
        """How large the incident is: the events that were lost in any way, or the minutes that nobody watched, or that
        snapshots waited for the database, or the places where what is stored is not what was written.
        """
        minutes = int((self.blind_seconds + self.gap_seconds + (self.silent_seconds or 0.0)) // 60)
        return max(sum(self.losses.nonzero().values()), minutes, int(self.waited_seconds // 60), self.tampered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an alert's sentence is made of."""

    duration: timedelta
    totals: Totals
    values: Mapping[str, Distinct] = field(default_factory=dict)
    """By field: see `evidence`."""
    explanation: str | None = None
    """Of the strangest row."""
    capture: CaptureFacts | None = None
    """Of an alert about capture, which has no rows."""
    host: str = ""
    group: Mapping[str, Scalar] = field(default_factory=dict)
    """What the rows have in common."""
    explain: str | None = None
    """The rule's own sentence (see `sentence`)."""

    @property
    def magnitude(self) -> int:
        """How large the incident is."""
        return self.totals.magnitude if self.capture is None else self.capture.magnitude

    def of(self, name: str) -> Distinct:
        """The values of one field."""
        return self.values.get(name, _NONE)
