"""What the store holds in the end of what a world did, and what it says is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from detector.domain import NotificationState
from detector.store.engine import reading
from detector.store.packed import read_packed
from detector.store.tables import alerts, connection_keys, findings, hosts, notifications, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine, RowMapping

OUTCOMES = ("attempted", "established", "refused", "failed")
"""Names of counts, and of losses."""
_NUMBER_BYTES = 6


@dataclass(frozen=True, slots=True)
class Taken:
    """A stored snapshot, without its counts."""

    seq: int
    number: int
    """The collector's own, by the mark; one that began with nothing in its spool begins with 1."""
    lost: Mapping[str, int]
    lost_snapshots: int
    gap_seconds: float
    step_seconds: float
    """By which the clock was set."""
    blind: bool
    replaced: bool
    """It is the first in a database that took the place of a damaged one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """All that the books are made of."""

    snapshots: Sequence[Taken]
    counted: Mapping[str, Mapping[int, Counter[str]]]
    """Outbound, by command name and the number of the snapshot."""
    inbound: int
    """Connections that were accepted, of the network in which connects are made."""
    found: Counter[tuple[int, str]]
    """Findings of the rule that finds marks: the snapshot's number and the mark."""
    alerts: Mapping[str, int]
    """How many there are of each mark."""
    notifications: Counter[str]
    """By state."""
    delivered: frozenset[str]
    """Marks with an alert of which a message was delivered."""
    dead: frozenset[str]
    """Marks with an alert of which a message was given up."""
    told: frozenset[str]
    """Titles of rules of which there are alerts."""


def read_ledger(path: Path) -> dict[str, Counter[str]]:
    """What the client did, by command name, in its order."""
    made = {}
    for line in path.read_text(encoding="ascii").splitlines():
        name, *numbers = line.split()
        outcomes = dict(zip(OUTCOMES[1:], map(int, numbers), strict=True))
        made[name] = Counter({"attempted": sum(outcomes.values()), **outcomes})
    return made


def read_store(engine: Engine, host: str, mark_rule: str) -> Stored:
    """Reads all of it.

    Args:
        engine: of the database.
        host: by its name.
        mark_rule: the title of the rule that finds marks.
    """
    with reading(engine) as connection:
        host_id = connection.scalar(select(hosts.c.host_id).where(hosts.c.host == host))
        assert host_id is not None
        marks = _marks(connection, mark_rule)
        counted, inbound = _counted(connection, host_id)
        found = select(findings.c.seq, findings.c.alert_id).where(findings.c.alert_id.in_(marks))
        all_of_them = select(snapshots).where(snapshots.c.host_id == host_id).order_by(snapshots.c.seq)
        states = {state: _of_state(connection, marks, state) for state in NotificationState}
        in_state = select(notifications.c.state, func.count()).group_by(notifications.c.state)
        return Stored(
            snapshots=[_taken(row) for row in connection.execute(all_of_them).mappings()],
            counted=counted,
            inbound=inbound,
            found=Counter((row.seq, marks[row.alert_id]) for row in connection.execute(found)),
            alerts=Counter(marks.values()),
            notifications=Counter({row[0]: row[1] for row in connection.execute(in_state)}),
            delivered=states[NotificationState.DELIVERED],
            dead=states[NotificationState.DEAD],
            told=frozenset(connection.scalars(select(alerts.c.rule_title).distinct())),
        )


def _taken(row: RowMapping) -> Taken:
    return Taken(
        seq=row["seq"],
        number=int.from_bytes(row["mark"][:_NUMBER_BYTES], "big"),
        lost={name: row[f"lost_{name}"] for name in (*OUTCOMES, "inbound", "unread")},
        lost_snapshots=row["lost_snapshots"],
        gap_seconds=row["gap_seconds"],
        step_seconds=row["clock_step_seconds"],
        blind=row["self_test_passed"] is False,
        replaced=row["set_aside"] is not None,
    )


def _counted(connection: Connection, host_id: int) -> tuple[Mapping[str, Mapping[int, Counter[str]]], int]:
    keys = connection_keys.c
    ours = select(keys.key_id, keys.command, keys.direction, keys.local_port).where(keys.host_id == host_id)
    names = {
        key_id: None if direction == "inbound" else command
        for key_id, command, direction, port in connection.execute(ours)
        if (port == PORT if direction == "inbound" else (command or "").startswith(("batch-", "mark-")))
    }
    counted: defaultdict[str, defaultdict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    inbound = 0
    for seq, key_id, numbers in _rows(connection, host_id):
        if key_id not in names:
            continue
        command = names[key_id]
        if command is None:
            inbound += numbers["attempted"]
        else:
            counted[command][seq].update(numbers)
    return counted, inbound


def _rows(connection: Connection, host_id: int) -> Iterator[tuple[int, int, Counter[str]]]:
    for packed in read_packed(connection, host_id, (1, 2**62), scores=False):
        columns = [packed.counts[name] for name in OUTCOMES]
        for key_id, *values in zip(packed.counts["key_id"], *columns, strict=True):
            yield packed.seq, key_id, Counter(dict(zip(OUTCOMES, values, strict=True)))


def _marks(connection: Connection, mark_rule: str) -> dict[int, str]:
    """The mark of each alert of theirs."""
    query = select(alerts.c.alert_id, alerts.c.group).where(alerts.c.rule_title == mark_rule)
    return {row.alert_id: row.group["command"] for row in connection.execute(query)}


def _of_state(connection: Connection, marks: Mapping[int, str], state: NotificationState) -> frozenset[str]:
    query = select(notifications.c.alert_id).where(notifications.c.state == state.value)
    return frozenset(marks[alert_id] for alert_id in connection.scalars(query) if alert_id in marks)


PORT = 7001
"""On which the servers listen that the client connects to."""
