"""What is judged: hosts with ordinary traffic, and attacks that are played into it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from detector.domain import Direction
from detector.evaluation.coarser import coarser
from detector.evaluation.generate import Bastion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from random import Random

    from detector.domain import ConnectionKey, IPAddress, Snapshot
    from detector.evaluation.connects import Connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host, whose first part is history and whose second part, taken to be benign, the test."""

    name: str
    snapshots: Callable[[int], Sequence[Snapshot]]
    """By their length in seconds, in the order of time."""
    middle: float
    """Where the test begins: seconds since 1970."""
    last: float
    """Its last connect."""

    @property
    def days(self) -> float:
        """How long the test is."""
        return (self.last - self.middle) / 86_400


def recorded(snapshots: Sequence[Snapshot], name: str, *, split: float | None) -> Host:
    """A host of snapshots that are known already.

    Args:
        snapshots: in the order of time.
        name: what it is called.
        split: the part of the time that is history; None: up to the median connect, as the protocol has it.
    """
    busy = [each for each in snapshots if each.counts]
    first, last = busy[0].start.timestamp(), busy[-1].end.timestamp()
    middle = _median(busy) if split is None else first + split * (last - first)
    by_seconds: dict[int, Sequence[Snapshot]] = {}

    def of(seconds: int) -> Sequence[Snapshot]:
        if seconds not in by_seconds:
            by_seconds[seconds] = [replace(each, host=name) for each in coarser(snapshots, seconds)]
        return by_seconds[seconds]

    return Host(name=name, snapshots=of, middle=middle, last=last)


def generated(name: str, *, seed: int, days: float, people: int) -> Host:
    """A bastion that is made up, whose first half is history."""
    made = Bastion(seed=seed, days=days, host=name, people=people)
    by_seconds: dict[int, Sequence[Snapshot]] = {}

    def of(seconds: int) -> Sequence[Snapshot]:
        if seconds not in by_seconds:
            by_seconds[seconds] = list(made.snapshots(seconds))
        return by_seconds[seconds]

    return Host(name=name, snapshots=of, middle=(made.begin + made.end) / 2, last=made.end)


def _median(snapshots: Iterable[Snapshot]) -> float:
    sizes = [(each.start.timestamp(), sum(count.attempted for count in each.counts)) for each in snapshots]
    left = sum(size for _, size in sizes) // 2
    for start, size in sizes:
        left -= size
        if left < 0:
            return start
    return sizes[-1][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an attacker finds on a host: what its history holds, the most usual first."""

    keys: Sequence[ConnectionKey]
    """Outbound, with an address and a port."""
    places: Sequence[tuple[IPAddress, int]]
    """Address and port of these, all programs and users together."""
    most_an_hour: int
    """The most connects to one of them in an hour."""
    start: float
    """When the attack begins: seconds since 1970."""
    left: float
    """Seconds until the host's last connect."""

    @property
    def known(self) -> tuple[IPAddress, int]:
        """The third most used address and port, as the protocol has it for attacks on what is known."""
        return self.places[min(2, len(self.places) - 1)]


def surroundings_of(history: Iterable[Snapshot], *, start: float, left: float) -> Surroundings:
    """What a history holds: of the outbound keys those that have an address and a port."""
    keys: Counter[ConnectionKey] = Counter()
    places: Counter[tuple[IPAddress, int]] = Counter()
    hours: Counter[tuple[int, IPAddress, int]] = Counter()
    for snapshot in history:
        hour = int(snapshot.start.timestamp() // 3600)
        for each in snapshot.counts:
            key = each.key
            if key.direction is Direction.OUTBOUND and key.remote_address is not None and key.remote_port:
                keys[key] += each.attempted
                places[key.remote_address, key.remote_port] += each.attempted
                hours[hour, key.remote_address, key.remote_port] += each.attempted
    return Surroundings(
        keys=sorted(keys, key=lambda key: (-keys[key], str(key))),
        places=sorted(places, key=lambda place: (-places[place], str(place[0]), place[1])),
        most_an_hour=max(hours.values(), default=0),
        start=start,
        left=left,
    )


class Attack(Protocol):
    """One way in which a host is misused."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""

    def connects(self, surroundings: Surroundings, chance: Random) -> Sequence[Connect]:
        """Its connects in the order of time, `at` in seconds since it began; empty: it cannot be on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAttack:
    """One that happened: always the same connects."""

    name: str
    recorded: tuple[Connect, ...]
    on_known: bool = False
    """Whether it is aimed at what the host knows, wherever it went."""

    def connects(self, surroundings: Surroundings, chance: Random) -> Sequence[Connect]:  # noqa: ARG002 - as it was
        """As recorded."""
        if not self.on_known:
            return self.recorded
        address, port = surroundings.known
        return [
            replace(each, key=replace(each.key, remote_address=address, remote_port=port)) for each in self.recorded
        ]


def moved(connects: Sequence[Connect], surroundings: Surroundings) -> list[Connect]:
    """An attack's connects where it happens, those after the host's last connect left out."""
    return [replace(each, at=each.at + surroundings.start) for each in connects if each.at < surroundings.left]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """All that is judged."""

    hosts: Sequence[Host]
    attacks: Sequence[Attack]
    left_out: Mapping[str, str]
    """Hosts and attacks of which nothing is left, by name, with the reason."""
