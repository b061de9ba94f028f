"""What rules with a burn-in have found on hosts of which nobody is told yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from detector.store.tables import held_findings, hosts

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is held back of one rule on one host."""

    host: str
    findings: int
    incidents: int
    end: datetime
    """Of the last of them."""


def held_of(connection: Connection, rule_id: str) -> list[Held]:
    """What was held back of a rule, by host."""
    held = held_findings.c
    rows = connection.execute(
        select(
            hosts.c.host,
            func.sum(held.findings).label("findings"),
            func.count().label("incidents"),
            func.max(held.end).label("end"),
        )
        .join(hosts, hosts.c.host_id == held.host_id)
        .where(held.rule_id == rule_id)
        .group_by(hosts.c.host)
        .order_by(hosts.c.host)
    )
    return [Held(host=row.host, findings=int(row.findings), incidents=int(row.incidents), end=row.end) for row in rows]


def forget(connection: Connection, *, before: datetime) -> None:
    """Deletes what was last found before a moment."""
    connection.execute(held_findings.delete().where(held_findings.c.end < before))
