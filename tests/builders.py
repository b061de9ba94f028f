"""Builds stored snapshots for tests: short to write, defaults everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from detector.domain import ConnectionCount, ConnectionKey, Direction, Losses, Observation, Protocol, Snapshot
from detector.store import observations, snapshots
from detector.store.engine import writing
from detector.store.snapshots import SnapshotWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Engine

    from detector.domain import SnapshotRef

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

_COUNTS = {
    "session",
    "attempted",
    "established",
    "refused",
    "timed_out",
    "failed",
    "handshake_us_total",
    "handshake_us_max",
}


def count(address: str = "10.0.4.12", port: int | None = 22, **values: Any) -> ConnectionCount:
    """A count; key fields and counts by name. Defaults: one attempt of alice's /usr/bin/ssh, established."""
    counts = {name: values.pop(name) for name in list(values) if name in _COUNTS}
    direction = Direction(values.pop("direction", "outbound"))
    key: dict[str, Any] = {
        "executable": "/usr/bin/ssh",
        "command": "ssh",
        "user": "alice",
        "login_user": "alice",
        "unit": "user-1000.slice",
    }
    if direction is Direction.INBOUND:
        key = {"local_port": port}
    else:
        key["remote_port"] = port
    key.update(values)
    if not counts.keys() & _COUNTS - {"session"}:
        counts |= {"attempted": 1, "established": 1}
    return ConnectionCount(
        key=ConnectionKey(
            direction=direction,
            protocol=Protocol(key.pop("protocol", "tcp")),
            remote_address=ip_address(address),
            **key,
        ),
        **counts,
    )


@dataclass
class Recorder:
    """Writes snapshots of one host, one interval after another."""

    engine: Engine
    host: str = "bastion-1"
    interval: timedelta = timedelta(seconds=10)
    now: datetime = START
    writer: SnapshotWriter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = SnapshotWriter(self.host)

    def snapshot(self, *counts: ConnectionCount, losses: Losses | None = None) -> SnapshotRef:
        """Writes the next snapshot."""
        snapshot = Snapshot(
            host=self.host, start=self.now, end=self.now + self.interval, counts=counts, losses=losses or Losses()
        )
        self.now = snapshot.end
        with writing(self.engine) as connection:
            return self.writer.write(connection, snapshot)

    def pass_time(self, **amount: float) -> None:
        """Lets time go by without snapshots (`hours=2`)."""
        self.now += timedelta(**amount)


def observe(engine: Engine, ref: SnapshotRef, values: Mapping[int, Mapping[str, Any]] | None = None) -> None:
    """Writes observations for all counts of a snapshot: everything None, but for `values` by key_id."""
    empty: dict[str, Any] = dict.fromkeys(
        ("score", "surprise", "channel", "novelty", "p_novelty", "p_volume", "p_forest", "explanation")
    )
    with writing(engine) as connection:
        observations.write(
            connection,
            ref,
            [
                Observation(
                    key_id=stored.key_id,
                    session=stored.count.session,
                    **{**empty, **(values or {}).get(stored.key_id, {})},
                )
                for stored in snapshots.read_counts(connection, ref)
            ],
        )


def stored(engine: Engine, ref: SnapshotRef) -> Iterable[Any]:
    """The counts of a stored snapshot."""
    with writing(engine) as connection:
        return snapshots.read_counts(connection, ref)
