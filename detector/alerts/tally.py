"""Which alerts findings would make, without a database: what a rule is worth before it is in force."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts.grouping import incidents
from detector.alerts.policy import continues

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from detector.domain import Finding, Scalar, Severity, SnapshotRef

    Numbers = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True, kw_only=True)
class WouldBe:
    """An alert that there would be."""

    host: str
    rule_title: str
    severity: Severity
    fingerprint: str
    group: Mapping[str, Scalar]
    opened_at: datetime
    start: datetime
    end: datetime
    findings: int = 0
    rows: int = 0
    """Rows of its findings; one that several findings name counts for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """Very many findings of one rule on one host, in the order of their snapshots, none of which ends before another.

    Of one snapshot no two are of one group.
    """

    host: str
    rule_title: str
    severity: Severity
    known: Sequence[tuple[str, Mapping[str, Scalar]]]
    """Of each group its fingerprint, and what its rows have in common."""
    groups: Numbers
    """Of each finding its group, by its place in `known`."""
    starts: Numbers
    """When its snapshot began, in microseconds since 1970."""
    ends: Numbers
    rows: Numbers
    """How many rows it has."""


@dataclass(slots=True)
class Tally:
    """Groups findings as the alert book does.

    Args:
        cooldown: findings with one fingerprint that follow one another within this time are one alert.
    """

    cooldown: timedelta
    alerts: list[WouldBe] = field(default_factory=list)
    """In the order in which they would be opened."""
    _of: dict[str, list[WouldBe]] = field(default_factory=lambda: defaultdict(list))

    def add(self, snapshot: SnapshotRef, findings: Iterable[Finding]) -> None:
        """Adds the findings of a snapshot; those of a host come in the order of its snapshots."""
        for incident in incidents(findings):
            known = self._of[incident.fingerprint]
            alert = self._active(known, snapshot.end)
            if alert is None:
                alert = WouldBe(
                    host=snapshot.host,
                    rule_title=incident.lead.rule_title,
                    severity=incident.lead.severity,
                    fingerprint=incident.fingerprint,
                    group=incident.lead.group,
                    opened_at=snapshot.end,
                    start=incident.start,
                    end=incident.end,
                )
                self.alerts.append(alert)
                known.append(alert)
            alert.findings += len(incident.findings)
            alert.rows += len(incident.places)
            alert.start, alert.end = min(alert.start, incident.start), max(alert.end, incident.end)

    def add_many(self, many: Many) -> None:
        """Adds findings, none of a snapshot that ended before one that was added of the host."""
        if not len(many.groups):
            return
        order = np.argsort(many.groups, kind="stable")
        groups, ends = many.groups[order], many.ends[order]
        far = np.diff(ends) > self.cooldown // _MICROSECOND
        begins = np.flatnonzero(np.concatenate(([True], (np.diff(groups) != 0) | far)))
        pieces = zip(
            groups[begins].tolist(),
            ends[begins].tolist(),
            ends[np.append(begins[1:], len(ends)) - 1].tolist(),
            np.minimum.reduceat(many.starts[order], begins).tolist(),
            np.diff(np.append(begins, len(ends))).tolist(),
            np.add.reduceat(many.rows[order], begins).tolist(),
            strict=True,
        )
        # By when they would be opened; of one snapshot, as `incidents` has them.
        for group, opened, end, start, findings, rows in sorted(
            pieces, key=lambda piece: (piece[1], many.known[piece[0]][0])
        ):
            fingerprint, shown = many.known[group]
            known = self._of[fingerprint]
            alert = self._active(known, _moment(opened))
            if alert is None:
                alert = WouldBe(
                    host=many.host,
                    rule_title=many.rule_title,
                    severity=many.severity,
                    fingerprint=fingerprint,
                    group=shown,
                    opened_at=_moment(opened),
                    start=_moment(start),
                    end=_moment(end),
                )
                self.alerts.append(alert)
                known.append(alert)
            alert.findings += findings
            alert.rows += rows
            alert.start, alert.end = min(alert.start, _moment(start)), max(alert.end, _moment(end))

    def _active(self, known: Sequence[WouldBe], now: datetime) -> WouldBe | None:
        """The alert that a finding belongs to."""
        if not known:
            return None
        # The others ended before it, unless the clock was set back.
        likely = known[-1:] if now >= known[-1].end else known
        active = [each for each in likely if continues(each.end, now=now, cooldown=self.cooldown)]
        return max(active, key=lambda each: each.end, default=None)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
