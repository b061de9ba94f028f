"""What the snapshots that detection has seen add up to, by host: what is counted there never becomes less."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from sqlalchemy import select

from detector.domain import Losses
from detector.store.bulk import upsert
from detector.store.tables import host_totals, hosts, snapshots

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from detector.domain import SnapshotRef

_LOST = "lost_"
LOSSES = tuple(f"{_LOST}{field.name}" for field in fields(Losses))
_SECONDS = ("gap_seconds", "suspended_seconds")
NAMES = (
    "snapshots",
    "incomplete",
    "blind",
    "late",
    "waited",
    "clock_steps",
    *_SECONDS,
    "rows",
    "attempted",
    "findings",
    *LOSSES,
)
"""What is added up: snapshots (all, those that lack something, were taken blind, came late, waited for the database, or
over a change of the clock), seconds that nobody watched, rows, attempts, findings, and what was lost, by kind."""


def advance(connection: Connection, snapshot: SnapshotRef, *, rows: int, attempted: int, findings: int) -> None:
    """Adds a snapshot, within the transaction that takes it through detection."""
    columns = snapshots.c
    row = connection.execute(
        select(snapshots).where(
            columns.host_id == snapshot.host_id, columns.seq == snapshot.seq, columns.end == snapshot.end
        )
    ).mappings()
    added: dict[str, float] = _of(row.one()) | {"rows": rows, "attempted": attempted, "findings": findings}
    news = {name: float(number) for name, number in added.items() if number}
    table = host_totals.c
    known = {
        each.name: each.total
        for each in connection.execute(select(table.name, table.total).where(table.host_id == snapshot.host_id))
    }
    changed = [(snapshot.host_id, name, known.get(name, 0.0) + number) for name, number in news.items()]
    upsert(connection, host_totals, ("host_id", "name", "total"), changed)


def read(connection: Connection) -> dict[str, dict[str, float]]:
    """All totals of all hosts, by host and name; 0 where nothing was counted."""
    table = host_totals.c
    found = {
        host: dict.fromkeys(NAMES, 0.0) for host in connection.scalars(select(hosts.c.host).order_by(hosts.c.host))
    }
    for row in connection.execute(
        select(hosts.c.host, table.name, table.total).join(hosts, hosts.c.host_id == table.host_id)
    ):
        found[row.host][row.name] = row.total
    return found


def _of(row: RowMapping) -> dict[str, float]:
    blind = row["self_test_passed"] is False or row["blind_since"] is not None
    lost = {name: row[name] for name in LOSSES}
    return {
        "snapshots": 1,
        "incomplete": any(lost.values()) or blind or bool(row["gap_seconds"]),
        "blind": blind,
        "late": bool(row["late_seconds"]),
        "waited": bool(row["waited_seconds"]),
        "clock_steps": bool(row["clock_step_seconds"]),
        **{name: row[name] for name in _SECONDS},
        **lost,
    }
