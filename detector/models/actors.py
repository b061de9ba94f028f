"""The actor channel: a program or a person connects where that one never did, whatever others do.

An actor is an executable, or a person (the login user where there is one: it stays the same through sudo and su). To a
destination that it does not know an actor backs off: it may know the network, or use the port, or be known at all. What
it discovers in k of the T observed hours in which it was active comes up in the next with

    p = (6 r + k) / (6 + T)        r = (θ + K) / (θ + H)

where K of all actors' H hours held such a discovery: a rate of discovery per actor, shrunk towards the host's as a
port's is (see `novelty`). A browser meets new addresses in every hour, and p is near 1; a backup that never did has a p
that falls with every hour. Constants: docs/models.md, "Actors".

Only outbound connections are judged, and nothing but its appearance in an actor's first hour: all is new in that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from detector.models import ageing
from detector.models.features import person_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.domain import ConnectionKey
    from detector.models.endpoints import Endpoint
    from detector.models.facts import Facts
    from detector.models.layout import Values
    from detector.models.state import Subjects

KINDS = ("executable", "user")
"""The kinds of actors."""
OF_KEY = ("actor", "port", "network", "destination", "nobody", "appears", "own_port", "own_destination", "own_near")
"""What is learnt of an actor and a key. The last five are the rates of its discoveries, by `Habit`."""
_FIRST_RATE = OF_KEY.index("nobody")


class Habit(IntEnum):
    """What an actor does for the first time."""

    NOTHING = 0
    APPEARS = 1
    PORT = 2
    DESTINATION = 3
    DESTINATION_IN_KNOWN_NETWORK = 4


_THETA = {
    Habit.APPEARS: 0.5,
    Habit.PORT: 0.2,
    Habit.DESTINATION: 1.0,
    Habit.DESTINATION_IN_KNOWN_NETWORK: 1.0,
}
_SHRINKAGE_HOURS = 6.0
_INHERITED = 0.9
_FIRST_COUNTED_HOUR = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSubjects:
    """The numbers of the subjects of n rows for one kind of actor."""

    kind: str
    named: npt.NDArray[np.bool_]
    """(n,) whether the row is outbound and its actor known; the numbers of others stand for nothing."""
    actor: npt.NDArray[np.int64]
    port: npt.NDArray[np.int64]
    network: npt.NDArray[np.int64]
    destination: npt.NDArray[np.int64]
    own: npt.NDArray[np.int64]
    """(n, 5) by Habit: the actor's own rate of that discovery; APPEARS: the host's."""
    population: int
    """Hours of all actors."""
    habits: npt.NDArray[np.int64]
    """(5,) by Habit: discoveries of all actors."""

    @property
    def columns(self) -> tuple[npt.NDArray[np.int64], ...]:
        """What is active with the rows, each of the rows that are named."""
        return tuple(each[self.named] for each in (self.actor, self.port, self.network, self.destination))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorScores:
    """What is new to the actors of n rows, for one kind of actor."""

    habit: npt.NDArray[np.int64]
    """(n,) a `Habit`."""
    own: npt.NDArray[np.float64]
    """(n,) -log10 of the probability that an hour of this actor holds such a discovery, ageing after it."""
    surprise: npt.NDArray[np.float64]
    """(n,) the same, with what the actor itself lends while it is new."""
    known_for: npt.NDArray[np.float64]
    """(n,) seconds since the actor came to the destination; what is suspicious ages slower than that."""


def number_actor(subjects: Subjects, kind: str, key: ConnectionKey, end: Endpoint) -> tuple[int, ...]:
    """Numbers what is learnt of an actor and a key, as OF_KEY names it; of one that is not judged nothing is."""
    name = key.executable if kind == "executable" else person_of(key)
    nobody = subjects.number("habit", kind, Habit.NOTHING)
    if name is None or not end.outbound:
        return (nobody,) * len(OF_KEY)
    return (
        subjects.number(kind, True, name),
        subjects.number(f"{kind}_port", True, name, end.port),
        subjects.number(f"{kind}_network", True, name, end.place.network),
        subjects.number(f"{kind}_destination", True, name, end.subject),
        nobody,
        subjects.number("found", kind, Habit.APPEARS),
        *(
            subjects.number("found", kind, name, habit)
            for habit in (Habit.PORT, Habit.DESTINATION, Habit.DESTINATION_IN_KNOWN_NETWORK)
        ),
    )


def number(subjects: Subjects, facts: Facts) -> tuple[ActorSubjects, ...]:
    """What is learnt of the actors of n rows; one element for each of KINDS."""
    return tuple(_numbered(subjects, facts, kind) for kind in KINDS)


def judge(subjects: Subjects, numbers: ActorSubjects, *, hour: int, now_seconds: float) -> ActorScores:
    """Scores rows as things stood before this snapshot."""
    values, known = subjects.values, subjects.known
    actor = values.of(numbers.actor)
    known_actor, known_port = known[numbers.actor], known[numbers.port]
    habit = np.select(
        [~numbers.named, ~known_actor, known[numbers.destination], ~known_port, known[numbers.network]],
        [Habit.NOTHING, Habit.APPEARS, Habit.NOTHING, Habit.PORT, Habit.DESTINATION_IN_KNOWN_NETWORK],
        default=Habit.DESTINATION,
    )
    first_hour = (actor["hours"] <= 1) & (actor["last_hour"] == hour)
    found = (habit == Habit.APPEARS) | ((habit != Habit.NOTHING) & ~first_hour)
    rates = _rates(subjects, numbers, now_seconds)
    active = actor["hours"].astype(np.float64)
    of_own = values["hours"][numbers.own[np.arange(len(habit)), habit]]
    probability = np.where(
        habit == Habit.APPEARS,
        rates[Habit.APPEARS],
        (_SHRINKAGE_HOURS * rates[habit] + of_own) / (_SHRINKAGE_HOURS + active),
    )
    fresh = np.where(found, np.maximum(0.0, -np.log10(np.clip(probability, 1e-12, 1.0))), 0.0)
    age = np.where(numbers.named, ageing.age(subjects, numbers.destination, now_seconds), 0.0)
    aged = values["surprise"][numbers.destination] * ageing.left(age) * numbers.named
    own = np.where(habit == Habit.NOTHING, aged, fresh)
    since = np.where(numbers.named, ageing.age(subjects, numbers.actor, now_seconds), 0.0)
    lent = _INHERITED * actor["surprise"] * ageing.left(since) * numbers.named
    return ActorScores(
        habit=np.where(found, habit, Habit.NOTHING),
        own=own,
        surprise=np.maximum(own, lent),
        known_for=np.where(numbers.named & ~found, now_seconds - values["first_seconds"][numbers.destination], 0.0),
    )


def learn(
    subjects: Subjects,
    numbers: ActorSubjects,
    scores: ActorScores,
    suspicious: npt.NDArray[np.bool_],
    *,
    hour: int,
    now_seconds: float,
) -> None:
    """Takes the snapshot's discoveries into the state; those of suspicious rows (n,) not as usual ones.

    Actors, ports and networks must not have been touched yet.
    """
    values = subjects.values
    named = numbers.named
    actors = np.unique(numbers.actor[named])
    values["weight"][numbers.population] += np.count_nonzero(values["last_hour"][actors] != hour)
    for habit in Habit:
        chosen = (scores.habit == habit) & ~suspicious
        if habit is not Habit.NOTHING and chosen.any() and hour >= _FIRST_COUNTED_HOUR:
            found = np.unique(numbers.own[chosen, habit])
            values["weight"][numbers.habits[habit]] += np.count_nonzero(values["last_hour"][found] != hour)
            subjects.touch(found, hour=hour, now_seconds=now_seconds)
    new = named & ~subjects.known[numbers.destination]
    _set_found(values, numbers.destination[new], scores.own[new], now_seconds)
    appeared = named & ~subjects.known[numbers.actor]
    _set_found(values, numbers.actor[appeared], scores.own[appeared], now_seconds)


def _set_found(
    values: Values, numbers: npt.NDArray[np.int64], surprise: npt.NDArray[np.float64], now_seconds: float
) -> None:
    values["surprise"][numbers] = 0.0
    np.maximum.at(values["surprise"], numbers, surprise)
    values["surprise_seconds"][numbers] = now_seconds


def _rates(subjects: Subjects, numbers: ActorSubjects, now_seconds: float) -> npt.NDArray[np.float64]:
    """By Habit: the host's rate; of appearing an hour of the host, of the others an hour of an actor."""
    values = subjects.values
    population = float(values["weight"][numbers.population])
    rates = np.ones(len(Habit))
    for habit, theta in _THETA.items():
        times, hours = float(values["weight"][numbers.habits[habit]]), population
        if habit is Habit.APPEARS:
            hours = now_seconds / 3600
        rates[habit] = min(1.0, (theta + times) / (theta + hours))
    return rates


def _numbered(subjects: Subjects, facts: Facts, kind: str) -> ActorSubjects:
    of_kind = facts.actor(kind)
    return ActorSubjects(
        kind=kind,
        named=facts.trait(f"named_{kind}") > 0,
        actor=of_kind[:, 0],
        port=of_kind[:, 1],
        network=of_kind[:, 2],
        destination=of_kind[:, 3],
        own=of_kind[:, _FIRST_RATE:],
        population=subjects.number("population", kind),
        habits=np.array([subjects.number("habit", kind, habit) for habit in Habit], dtype=np.int64),
    )
