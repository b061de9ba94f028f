"""Which incidents of a snapshot need no alert of their own, since more severe ones have all of their rows.

Several rules see the same scan, and people are told of it once.

A rule that is more severe, or that sees but one row more, speaks for itself: nobody hides one thing behind another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector import shipped
from detector.domain import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from detector.alerts.grouping import Incident, Place

    Stored = Callable[[Incident, set[Place]], set[Place]]
    """Which of some rows are behind the alert that an incident goes on with, if there is one."""


@dataclass(frozen=True, slots=True)
class Covering:
    """What may be covered."""

    up_to: Severity | None = Severity.LOW
    """Rules of at most this severity; None: nothing."""

    def may(self, lesser: Incident) -> bool:
        """Whether an incident may be covered at all."""
        if self.up_to is None or lesser.about_capture:
            return False
        # A score says of rows that they are unusual, and nothing that a rule which has them all would leave unsaid.
        return lesser.lead.severity.rank <= self.up_to.rank or _is_score(lesser)

    def by(self, lesser: Incident, greater: Incident) -> bool:
        """Whether one may be covered by the other, if it has its rows."""
        severity, other = lesser.lead.severity.rank, greater.lead.severity.rank
        return severity < other or (severity == other and _is_score(lesser) and not _is_score(greater))


def covered(arrived: Iterable[Incident], covering: Covering, stored: Stored) -> dict[str, tuple[Incident, ...]]:
    """The incidents of a snapshot of which others have all rows, by their fingerprints, with those others.

    None of these is itself covered. The order of `arrived` has no influence.

    Args:
        arrived: with fingerprints of their own.
        covering: what may be covered.
        stored: looks for rows that a rule names of earlier snapshots, behind alerts that go on.
    """
    ranked = sorted(arrived, key=_precedence)
    places = {each.fingerprint: each.places for each in ranked if covering.may(each)}
    if not places:
        return {}
    wanted = set().union(*places.values())
    # Of each row the first incident: if that may not cover another one, none may that comes after it.
    having: dict[Place, Incident] = {}
    found: dict[str, tuple[Incident, ...]] = {}
    for each in ranked:
        mine = places.get(each.fingerprint)
        if mine and (greater := _having_all(each, mine, covering, having, stored)):
            found[each.fingerprint] = greater
            continue
        for place in wanted & (each.places if mine is None else mine):
            having.setdefault(place, each)
    return found


def _having_all(
    lesser: Incident, rows: set[Place], covering: Covering, having: Mapping[Place, Incident], stored: Stored
) -> tuple[Incident, ...]:
    """The incidents that together have all rows of one; empty: they have not."""
    greater: dict[str, Incident] = {}
    left: set[Place] = set()
    for place in rows:
        other = having.get(place)
        if other is None or not covering.by(lesser, other):
            left.add(place)
        else:
            greater[other.fingerprint] = other
    # What no other incident has in common with it now is another thing.
    newest = max(seq for seq, _, _ in rows)
    for each in greater.values():
        if not left or any(seq == newest for seq, _, _ in left):
            break
        left -= stored(each, left)
    return () if left else tuple(sorted(greater.values(), key=_precedence))


def _precedence(incident: Incident) -> tuple[int, bool, str]:
    return -incident.lead.severity.rank, _is_score(incident), incident.fingerprint


def _is_score(incident: Incident) -> bool:
    return incident.lead.rule_id == shipped.ANOMALY_RULE
