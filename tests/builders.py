"""Builds stored snapshots for tests: short to write, defaults everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, insert

from detector import shipped
from detector.domain import (
    CaptureHealth,
    ConnectionCount,
    ConnectionKey,
    Direction,
    Losses,
    Observation,
    Protocol,
    Snapshot,
)
from detector.store import observations, snapshots
from detector.store.engine import writing
from detector.store.snapshots import SnapshotWriter
from detector.store.tables import alerts

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
_LEARNT = {"login_address", "login_source", "remote_name", "remote_name_source", "remote_country", "remote_network"}


def count(address: str | None = "10.0.4.12", port: int | None = 22, **values: Any) -> ConnectionCount:
    """A count; fields of it and of its key by name, addresses as text. Defaults: one attempt of alice's /usr/bin/ssh,
    established; a flow, if it is of a protocol without connections.
    """
    counts = {name: values.pop(name) for name in list(values) if name in _COUNTS}
    learnt = {name: values.pop(name) for name in list(values) if name in _LEARNT}
    if (login_address := learnt.get("login_address")) is not None:
        learnt["login_address"] = ip_address(login_address)
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
    protocol = Protocol(key.pop("protocol", "tcp"))
    if not counts.keys() & _COUNTS - {"session"}:
        counts |= {"attempted": 1, "established": int(protocol in (Protocol.TCP, Protocol.SCTP))}
    return ConnectionCount(
        key=ConnectionKey(
            direction=direction,
            protocol=protocol,
            remote_address=None if address is None else ip_address(address),
            **key,
        ),
        **learnt,
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

    def snapshot(
        self, *counts: ConnectionCount, losses: Losses | None = None, health: CaptureHealth | None = None
    ) -> SnapshotRef:
        """Writes the next snapshot."""
        snapshot = Snapshot(
            host=self.host,
            start=self.now,
            end=self.now + self.interval,
            counts=counts,
            losses=losses or Losses(),
            health=health or CaptureHealth(),
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


def insert_alert(engine: Engine, **more: Any) -> None:
    """Writes an alert of the first host, as it might stand there; columns by name."""
    values = {
        "host_id": 1,
        "fingerprint": "f" * 32,
        "rule_id": "0b1c",
        "rule_title": "Port scan of one destination",
        "severity": "high",
        "group": {"user": "alice", "remote_address": "10.0.4.12"},
        "opened_at": START + timedelta(seconds=10),
        "start": START,
        "end": START + timedelta(seconds=20),
        "finding_count": 2,
        **dict.fromkeys(("attempted", "established", "refused", "timed_out", "failed", "destinations", "ports"), 3),
        "score": 0.5,
        "summary": "alice, via /usr/bin/nc, tried 300 ports",
        "explanations": [[2.5, "never seen before"]],
        "notified_magnitude": 1,
    } | more
    with writing(engine) as connection:
        connection.execute(insert(alerts).values(**values))


def stored(engine: Engine, ref: SnapshotRef) -> Iterable[Any]:
    """The counts of a stored snapshot."""
    with writing(engine) as connection:
        return snapshots.read_counts(connection, ref)


def take_back(engine: Engine, revision: str) -> None:
    """Empties a database, and gives it the schema of an older release."""
    config = Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")))
    with engine.begin() as connection:
        there = MetaData()
        there.reflect(connection)
        there.drop_all(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
