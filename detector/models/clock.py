"""The hour channel: a person is active at an hour of the week in which that person hardly ever is.

Of T observed hours since a person was first met, the person was active in a: a/T is the usual. An hour of the day, with
half the weight of its neighbours, and the hour of the week each have a rate of their own, the finer one shrunk towards
the coarser with the weight of one such hour. The value is how many times rarer than the usual the hour at hand is, as
log10 (docs/models.md, "Hours"). Hours are those of UTC; only outbound connections count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.models.features import groups, person_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy.typing as npt

    from detector.domain import StoredCount
    from detector.models.facts import Facts
    from detector.models.state import Subjects

_HOURS_OF_DAY, _HOURS_OF_WEEK = 24, 168
_BESIDE = 0.25  # weight of the hour before, and of the hour after


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSubjects:
    """The numbers of the subjects of n rows."""

    named: npt.NDArray[np.bool_]
    """(n,) whether the row is outbound and its person known; the numbers of others stand for nothing."""
    person: npt.NDArray[np.int64]
    hours: npt.NDArray[np.int64]
    """(n, 3) of the hour of the day before this one, this one, and the one after."""
    week_hour: npt.NDArray[np.int64]
    anybody: int
    """Whether there was ever a person on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockScores:
    """How unusual the hour is for the persons of n rows."""

    rarity: npt.NDArray[np.float64]
    """log10 of how many times rarer than the person's usual hour; 0 where it is not."""
    active: npt.NDArray[np.float64]
    """How often, about, the person was active at this time of the day."""
    possible: npt.NDArray[np.float64]
    """Of so many times since the person was first met."""


def number(subjects: Subjects, counts: Sequence[StoredCount], facts: Facts, moment: datetime) -> ClockSubjects:
    """Numbers what is learnt of persons and hours."""
    hours = [(moment.hour + step) % _HOURS_OF_DAY for step in (-1, 0, 1)]
    week_hour = moment.weekday() * _HOURS_OF_DAY + moment.hour
    person = facts.actor("user")[:, 0]
    named = facts.trait("named_user") > 0
    first, of_row = groups(person)
    table = np.zeros((len(first), 4), dtype=np.int64)
    for place, row in enumerate(first.tolist()):
        if named[row]:
            name = person_of(counts[row].count.key)
            table[place] = (
                *(subjects.number("user_clock_hour", True, name, hour) for hour in hours),
                subjects.number("user_week_hour", True, name, week_hour),
            )
    of_person = table[of_row]
    return ClockSubjects(
        named=named,
        person=person,
        hours=of_person[:, :3],
        week_hour=of_person[:, 3],
        anybody=subjects.number("population", "user"),
    )


def judge(subjects: Subjects, numbers: ClockSubjects, *, now_seconds: float) -> ClockScores:
    """Compares the hour with the person's past, as things stood before this snapshot."""
    values = subjects.values
    total = (now_seconds - values["first_seconds"][numbers.person]) / 3600
    total = np.where(numbers.named & subjects.known[numbers.person], np.maximum(total, 0.0), 0.0)
    usual = (values["hours"][numbers.person] + 0.5) / (total + 1.0)
    beside = values["hours"][numbers.hours] @ np.array([_BESIDE, 1 - 2 * _BESIDE, _BESIDE])
    days, weeks = total / _HOURS_OF_DAY, total / _HOURS_OF_WEEK
    of_day = (beside + usual) / (days + 1.0)
    of_week = (values["hours"][numbers.week_hour] + of_day) / (weeks + 1.0)
    rarity = np.maximum(0.0, np.log10(np.minimum(usual, 1.0) / of_week))
    return ClockScores(rarity=np.where(total > 0, rarity, 0.0), active=beside, possible=days)


def learn(
    subjects: Subjects,
    numbers: ClockSubjects,
    suspicious: npt.NDArray[np.bool_],
    *,
    hour: int,
    now_seconds: float,
) -> None:
    """Takes the hour into the persons' weeks, but for what is suspicious (n,)."""
    usual = numbers.named & ~suspicious
    active = np.concatenate([numbers.hours[usual, 1], numbers.week_hour[usual]])
    subjects.touch(active, hour=hour, now_seconds=now_seconds)
