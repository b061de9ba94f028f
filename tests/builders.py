"""Builds stored snapshots for tests: short to write, defaults everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from math import log10
from typing import TYPE_CHECKING, Any, NoReturn

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, insert, select, text

from detector import shipped
from detector.domain import (
    CHANNELS,
    CaptureHealth,
    ConnectionCount,
    ConnectionKey,
    Direction,
    Losses,
    Observation,
    Protocol,
    Snapshot,
)
from detector.store import cursors, observations, recent
from detector.store.engine import reading, writing
from detector.store.packed import read_one, read_packed
from detector.store.snapshots import SnapshotWriter, stored_counts
from detector.store.tables import alerts, hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine

    from detector.domain import SnapshotRef, StoredCount
    from detector.pipeline import Detected

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


class Lines:
    """Remembers what the service says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def kept(self, message: str) -> None:
        """Something was deleted."""
        self.lines.append(message)

    def fault(self, message: str) -> None:
        """Something is wrong."""
        self.lines.append(message)

    def trained(self, message: str) -> None:
        """A forest was trained."""
        self.lines.append(message)

    def detected(self, detected: Detected) -> None:
        """Detection is through with a snapshot: nothing to be said."""


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
    unpacked: bool = True
    """Whether rules see the rows, though detection has not been there."""
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
            ref = self.writer.write(connection, snapshot)
            if self.unpacked:
                unpack(connection, ref)
        return ref

    def pass_time(self, **amount: float) -> None:
        """Lets time go by without snapshots (`hours=2`)."""
        self.now += timedelta(**amount)


@dataclass(frozen=True)
class AllRows:
    """That all rows are looked at as far back as this, and none before."""

    whole: timedelta
    longer: Mapping[timedelta, frozenset[bytes]] = field(default_factory=dict)

    def places(self, *_: Any) -> NoReturn:
        """Which rows are wanted of those that are not."""
        raise AssertionError

    seeking = places


def unpack(connection: Connection, ref: SnapshotRef) -> None:
    """Gives the rules the rows of a snapshot, beside all those before it."""
    cursors.create_cursors(connection)
    recent.advance(connection, ref, read_one(connection, ref), AllRows(timedelta(days=365)))


def observe(engine: Engine, ref: SnapshotRef, values: Mapping[int, Mapping[str, Any]] | None = None) -> None:
    """Writes observations for all counts of a snapshot: everything None, but for `values` by key_id.

    A score comes with the surprise that it is made of, unless that is said too.
    """
    empty: dict[str, Any] = dict.fromkeys(
        ("score", "surprise", "unusual", "channel", "novelty", *(f"p_{name}" for name in CHANNELS), "explanation")
    )
    with writing(engine) as connection:
        packed = read_one(connection, ref)
        if packed is None:
            return
        observed = []
        for row in range(packed.rows):
            said = (values or {}).get(packed.counts["key_id"][row], {})
            of_row = {**empty, **said}
            if of_row["score"] is not None and "surprise" not in said:
                of_row["surprise"] = -log10(max(1 - of_row["score"], 1e-300))
            key_id, session = packed.counts["key_id"][row], packed.counts["session"][row]
            observed.append(Observation(key_id=key_id, session=session, **of_row))
        observations.write(connection, ref, packed, observed)


def alert_values(**more: Any) -> dict[str, Any]:
    """The columns of an alert of the first host, as it might stand there; others by name."""
    return {
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


def insert_alert(engine: Engine, **more: Any) -> None:
    """Writes such an alert."""
    with writing(engine) as connection:
        connection.execute(insert(alerts).values(**alert_values(**more)))


def stored(engine: Engine, ref: SnapshotRef) -> list[StoredCount]:
    """The counts of a stored snapshot."""
    with reading(engine) as connection:
        return read_counts(connection, ref)


def read_counts(connection: Connection, ref: SnapshotRef) -> list[StoredCount]:
    """The counts of a stored snapshot, by key and session."""
    packed = read_one(connection, ref)
    return stored_counts(connection, ref.host_id, packed) if packed else []


def every_row(engine: Engine) -> list[dict[str, Any]]:
    """The numbers of all rows in the store, in the order of hosts, snapshots, keys and sessions."""
    with reading(engine) as connection:
        host_ids = connection.scalars(select(hosts.c.host_id).order_by(hosts.c.host_id)).all()
        return [
            {"host_id": host_id, "seq": packed.seq, **packed.numbers(row)}
            for host_id in host_ids
            for packed in read_packed(connection, host_id, (1, 2**62))
            for row in range(packed.rows)
        ]


def take_back(engine: Engine, revision: str) -> None:
    """Empties a database, and gives it the schema of an older release."""
    config = Config()
    config.set_main_option("script_location", str(shipped.folder("migrations")))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Parts go with their tables.
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        else:
            there = MetaData()
            there.reflect(connection)
            there.drop_all(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
