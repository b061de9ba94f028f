"""Plays connects through the product's own store and scorer, in a database in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from detector.config import Models
from detector.domain import ConnectionCount, ConnectionKey, Direction, Protocol, Snapshot
from detector.models.scorer import HostScorer
from detector.store.engine import open_store, writing
from detector.store.packed import read_one
from detector.store.snapshots import SnapshotWriter, stored_counts
from detector.store.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from benchmarks.captures import Connect
    from detector.domain import IPAddress, Observation


@dataclass(frozen=True, slots=True)
class Row:
    """What the product said of one destination and port in one snapshot."""

    interval: int
    address: IPAddress
    port: int
    attack: bool
    surprise: float
    channel: str | None


class Replay:
    """A host's connects, written and scored snapshot by snapshot in a database in memory."""

    def __init__(
        self, host: str, first: float, seconds: int, burn_in_seconds: float, *, with_forest: bool = True
    ) -> None:
        self._host, self._first, self._seconds, self._with_forest = host, first, seconds, with_forest
        self._settings = Models(burn_in_hours=burn_in_seconds / 3600)
        self._engine: Engine = open_store("sqlite://")
        self._writer = SnapshotWriter(host)
        self._scorer = HostScorer(self._settings, trains=with_forest)
        metadata.create_all(self._engine)

    def copy(self) -> Replay:
        """Another one that stands where this one does."""
        burn_in = self._settings.burn_in_hours * 3600
        other = Replay(self._host, self._first, self._seconds, burn_in, with_forest=self._with_forest)
        with self._engine.connect() as source, other._engine.connect() as target:
            driver: Any = source.connection.driver_connection
            driver.backup(target.connection.driver_connection)
        return other

    def play(self, connects: Sequence[Connect], intervals: range) -> list[Row]:
        """Writes and scores the snapshots of `intervals`, empty ones included."""
        by_interval: dict[int, list[Connect]] = defaultdict(list)
        for connect in connects:
            by_interval[self.interval(connect.at)].append(connect)
        return [row for number in intervals for row in self._snapshot(number, by_interval.get(number, []))]

    def interval(self, at: float) -> int:
        """The number of the interval that holds a moment."""
        return int((at - self._first) // self._seconds)

    def close(self) -> None:
        """Frees the database."""
        self._engine.dispose()

    def _snapshot(self, number: int, connects: Sequence[Connect]) -> Iterator[Row]:
        start = datetime.fromtimestamp(self._first + number * self._seconds, UTC)
        attacked = {(each.address, each.port) for each in connects if each.attack}
        attempted = Counter((each.address, each.port) for each in connects)
        established = Counter((each.address, each.port) for each in connects if each.established)
        counts = tuple(
            ConnectionCount(
                key=ConnectionKey(
                    direction=Direction.OUTBOUND, protocol=Protocol.TCP, remote_address=address, remote_port=port
                ),
                attempted=tried,
                established=established[address, port],
                refused=tried - established[address, port],
            )
            for (address, port), tried in sorted(attempted.items(), key=lambda item: (str(item[0][0]), item[0][1]))
        )
        with writing(self._engine) as connection:
            ref = self._writer.write(
                connection,
                Snapshot(host=self._host, start=start, end=start + timedelta(seconds=self._seconds), counts=counts),
            )
            packed = read_one(connection, ref)
            stored = stored_counts(connection, ref.host_id, packed) if packed else []
            observed, _ = self._scorer.score(connection, ref, stored)
        for each, observation in zip(stored, observed, strict=True):
            key = each.count.key
            assert key.remote_address is not None
            place = (key.remote_address, key.remote_port or 0)
            yield _row(number, place, place in attacked, observation)


def _row(number: int, place: tuple[IPAddress, int], attack: bool, observation: Observation) -> Row:
    return Row(number, *place, attack=attack, surprise=observation.surprise or 0.0, channel=observation.channel)
