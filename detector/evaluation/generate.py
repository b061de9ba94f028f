"""Weeks of a bastion's ordinary traffic: made up, and the same for the same seed on any machine.

People log in on working days and connect where their work is, some with a browser that always meets new addresses; at
weekends hardly anybody comes. Services poll day and night, cron jobs run by the hour, day and week, a backup at night
and a larger one on Sundays; the machine is started anew now and then, and what is new in the company comes bit by bit.
Strangers knock at the SSH port. Each connect is made up for itself, so that snapshots of any length hold the same.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from detector.evaluation import people, services
from detector.evaluation.connects import snapshots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detector.domain import Snapshot
    from detector.evaluation.connects import Connect

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
"""Where the weeks begin: midnight of a Monday, UTC."""

_DAY = 86_400.0
# Every second Wednesday at ten past four; whole five minutes, so that no snapshot of that length is cut.
_RESTART_DAYS = 14
_RESTART_DAY = 9
_RESTART_AT, _RESTART_SECONDS = 4 * 3600 + 600, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bastion:
    """What is made up."""

    seed: int = 0
    days: float = 14
    host: str = "bastion-1"
    start: datetime = MONDAY
    people: int = 12
    """Who may log in. About 90 connects a working day each, beside 15,000 a day of services."""

    @property
    def begin(self) -> float:
        """Seconds since 1970."""
        return self.start.timestamp()

    @property
    def end(self) -> float:
        """Seconds since 1970."""
        return self.begin + self.days * _DAY

    @property
    def stops(self) -> list[tuple[float, float]]:
        """When the machine is started anew: seconds since 1970, from and until."""
        days = range(_RESTART_DAY, int(self.days) + 1, _RESTART_DAYS)
        starts = [self.begin + day * _DAY + _RESTART_AT for day in days]
        return [(start, start + _RESTART_SECONDS) for start in starts]

    def connects(self) -> Iterator[Connect]:
        """Every connect and flow, in the order of time."""
        days = int(self.days) + 1
        dawns = [self.begin + day * _DAY for day in range(days)]
        streams: list[Iterable[Connect]] = [
            person.connects(dawns, random.Random(f"{self.seed}/{person.name}"))  # noqa: S311 - the same each time
            for person in people.staff(random.Random(f"{self.seed}/staff"), self.people)  # noqa: S311
        ]
        streams += [
            service.connects(dawns, random.Random(f"{self.seed}/{service.name}"))  # noqa: S311
            for service in services.services()
        ]
        starts = [self.begin, *(until for _, until in self.stops)]
        streams.append(services.first_words(starts, random.Random(f"{self.seed}/start")))  # noqa: S311
        down = self.stops
        for each in heapq.merge(*streams, key=lambda connect: connect.at):
            if not any(low <= each.at < high for low, high in down):
                yield each

    def snapshots(self, seconds: int) -> Iterator[Snapshot]:
        """The same, counted in snapshots of so many seconds; those without connects included."""
        return snapshots_of(
            self.connects(), host=self.host, start=self.begin, end=self.end, seconds=seconds, stops=self.stops
        )


def weeks(*, seed: int = 0, days: float = 14, seconds: int = 60, host: str = "bastion-1") -> Iterator[Snapshot]:
    """The snapshots of a bastion with 12 users from a Monday's midnight on.

    Args:
        seed: what differs from one made-up bastion to another: people, their hours, habits and luck.
        days: how many.
        seconds: the length of a snapshot; what happens is the same for any.
        host: its name.
    """
    return Bastion(seed=seed, days=days, host=host).snapshots(seconds)
