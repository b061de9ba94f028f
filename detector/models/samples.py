"""The rows that the isolation forest is trained on: a bounded sample, kept up to date as snapshots come in.

Features are kept as they were when the row was scored, since they cannot be made again from the counts: how familiar a
thing is changes. Beside them stands whose row it was, and when, so that a person can be shown it.

The sample is stratified: each part of the week has slots of its own (an hour each, if the sample is large enough), and
in each the actors, a person with an executable in one direction, have equal shares as far as they have rows. Neither a
busy hour nor a busy program can fill it, and what happens once a week is in it. A full part takes what is new in the
place of what is a week old, and otherwise now and then at random (Aggarwal, "On biased reservoir sampling", VLDB 2006).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, select

from detector.models.features import FEATURES
from detector.store import bulk
from detector.store.tables import model_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import numpy.typing as npt

    from detector.domain import ConnectionKey, Direction, SnapshotRef, StoredCount

_FROM_ONE_SNAPSHOT = 64
_HOURS_OF_WEEK = 168
_SMALLEST_STRATUM = 16
# A full part of the week takes one row in so many for one of the same actor.
_RENEWED = 8
_OF_THIS_WEEK = timedelta(days=3.5)
_FREE = -1
_ROW_BYTES = 4 * len(FEATURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """n rows of one host, the oldest first."""

    features: npt.NDArray[np.float32]
    """(n, len(FEATURES))."""
    key_ids: npt.NDArray[np.int64]
    """(n,) whose rows they were."""
    at: npt.NDArray[np.float64]
    """(n,) when their snapshots ended, in seconds since 1970."""

    def __len__(self) -> int:
        return len(self.features)

    def part(self, chosen: slice) -> Sample:
        """Some of the rows."""
        return Sample(features=self.features[chosen], key_ids=self.key_ids[chosen], at=self.at[chosen])


def offer(
    connection: Connection,
    snapshot: SnapshotRef,
    counts: Sequence[StoredCount],
    rows: npt.NDArray[np.float32],
    *,
    capacity: int,
) -> None:
    """Offers rows of a snapshot to its host's sample.

    Args:
        connection: the transaction.
        snapshot: where the rows are from.
        counts: n of its counts.
        rows: their features, (n, len(FEATURES)).
        capacity: the size of the sample.
    """
    if not len(rows):
        return
    # The same for all workers, whatever they did before.
    chance = np.random.default_rng(int(snapshot.end.timestamp()))
    actors = np.array([_actor(stored.count.key) for stored in counts], dtype=np.int64)
    first, slots = _stratum(snapshot.end, capacity)
    part = _Part(connection, snapshot.host_id, first, slots, before=snapshot.end - _OF_THIS_WEEK)
    taken: dict[int, int] = {}
    for row in _in_turn(actors, chance)[:_FROM_ONE_SNAPSHOT].tolist():
        place = part.place(int(actors[row]), chance)
        if place is not None:
            taken[place] = row
    names = ("host_id", "slot", "key_id", "at", "actor", "layout", "features")
    kept = [
        (
            snapshot.host_id,
            first + place,
            counts[row].key_id,
            snapshot.end,
            int(actors[row]),
            *packed(rows[row]),
        )
        for place, row in taken.items()
    ]
    bulk.upsert(connection, model_samples, names, kept)


def read(connection: Connection, host_id: int, *, capacity: int) -> Sample:
    """The sample, of at most `capacity` rows; none of another version's features, and none that was damaged."""
    columns = model_samples.c
    rows = connection.execute(
        select(columns.features, columns.key_id, columns.at)
        .where(columns.host_id == host_id, columns.slot < capacity, columns.layout == _LAYOUT)
        .order_by(columns.at, columns.slot)
    )
    found = [row for row in rows if len(row.features) == _ROW_BYTES]
    features = _joined(bytes(row.features) for row in found)
    sound = np.isfinite(features).all(axis=1)
    return Sample(
        features=features[sound],
        key_ids=np.array([row.key_id for row in found], dtype=np.int64)[sound],
        at=np.array([row.at.timestamp() for row in found], dtype=np.float64)[sound],
    )


def packed(row: npt.NDArray[np.float32]) -> tuple[int, bytes]:
    """A row (len(FEATURES),) as it is stored: the columns `layout` and `features`."""
    return _LAYOUT, row.astype("<f4").tobytes()


def unpacked(rows: Iterable[tuple[int, bytes]]) -> npt.NDArray[np.float32]:
    """(n, len(FEATURES)) of such rows, less those of another version's features."""
    return _joined(features for layout, features in rows if layout == _LAYOUT)


def size(connection: Connection, host_id: int, *, capacity: int, most: int) -> int:
    """How many rows the sample has; no more than `most` are counted."""
    columns = model_samples.c
    some = select(columns.slot).where(columns.host_id == host_id, columns.slot < capacity, columns.layout == _LAYOUT)
    return len(connection.execute(some.limit(most)).all())


def _joined(rows: Iterable[bytes]) -> npt.NDArray[np.float32]:
    return np.frombuffer(b"".join(rows), dtype="<f4").astype(np.float32).reshape(-1, len(FEATURES))


class _Part:
    """One part of the week: its places, and which actors have them."""

    def __init__(self, connection: Connection, host_id: int, first: int, size: int, *, before: datetime) -> None:
        columns = model_samples.c
        self._actors = [_FREE] * size
        old = set()
        for row in connection.execute(
            select(columns.slot, columns.actor, columns.at, columns.layout)
            .where(columns.host_id == host_id, columns.slot >= first, columns.slot < first + size)
            .order_by(columns.slot)
        ):
            if row.layout == _LAYOUT:
                self._actors[row.slot - first] = row.actor
                if row.at < before:
                    old.add(row.slot - first)
        self._free = [place for place in reversed(range(size)) if self._actors[place] == _FREE]
        self._counts = Counter(actor for actor in self._actors if actor != _FREE)
        self._old = old

    def place(self, actor: int, chance: np.random.Generator) -> int | None:
        """The place for another row of an actor, which is its from then on; None: there is none for it."""
        place = self._free.pop() if self._free else self._given_up_for(actor, chance)
        if place is None:
            return None
        if self._actors[place] != _FREE:
            self._counts[self._actors[place]] -= 1
        self._counts[actor] += 1
        self._actors[place] = actor
        self._old.discard(place)
        return place

    def _given_up_for(self, actor: int, chance: np.random.Generator) -> int | None:
        if self._old:
            most = max(self._counts[self._actors[place]] for place in self._old)
            return _any([place for place in sorted(self._old) if self._counts[self._actors[place]] == most], chance)
        most = max(self._counts.values())
        if self._counts[actor] + 1 < most:
            return _any([place for place, other in enumerate(self._actors) if self._counts[other] == most], chance)
        if chance.integers(_RENEWED):
            return None
        own = [place for place, other in enumerate(self._actors) if other == actor]
        return _any(own or list(range(len(self._actors))), chance)


def _any(places: Sequence[int], chance: np.random.Generator) -> int:
    return places[int(chance.integers(len(places)))]


def _in_turn(actors: npt.NDArray[np.int64], chance: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows in any order, but so that each actor has one before any has two; (n,)."""
    order = chance.permutation(len(actors))
    by_actor = order[np.argsort(actors[order], kind="stable")]
    starts = np.flatnonzero(np.diff(actors[by_actor], prepend=-1))
    turns = np.arange(len(by_actor)) - np.repeat(starts, np.diff(starts, append=len(by_actor)))
    in_turn: npt.NDArray[np.int64] = by_actor[np.argsort(turns, kind="stable")]
    return in_turn


def _stratum(moment: datetime, capacity: int) -> tuple[int, int]:
    """The first slot of a moment's part of the week, and how many that part has."""
    parts = min(_HOURS_OF_WEEK, max(1, capacity // _SMALLEST_STRATUM))
    slots = capacity // parts
    return (moment.weekday() * 24 + moment.hour) * parts // _HOURS_OF_WEEK * slots, slots


def _actor(key: ConnectionKey) -> int:
    person = key.user if key.login_user is None else key.login_user
    return _actor_number(key.direction, person, key.executable)


@lru_cache(maxsize=65_536)
def _actor_number(direction: Direction, person: str | None, executable: str | None) -> int:
    return _number(repr((direction.value, person, executable)))


def _number(text: str) -> int:
    """A number of 63 bits that stands for a text; not negative."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


_LAYOUT = _number(",".join(FEATURES))
