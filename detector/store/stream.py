"""Goes through all that is stored, a page at a time: however much it is, little of it is in memory.

Each page is a transaction of its own, so that a reader who takes hours holds up nobody: neither SQLite's checkpoints
nor Postgres' vacuum. What is stored meanwhile is not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from detector.store.alerts import alert_from, alert_rows
from detector.store.chosen import Chosen
from detector.store.engine import reading
from detector.store.filters import known_hosts
from detector.store.matching import matching_rows, span_of, whole_rows
from detector.store.tables import alerts, hosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from detector.domain import Alert
    from detector.store.filters import HistoryFilter

_PAGE_SNAPSHOTS = 20
_PAGE_ALERTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertWithRows:
    """An alert and the first of the rows behind it."""

    alert: Alert
    rows: Sequence[Mapping[str, Any]]


def every_row(engine: Engine, wanted: HistoryFilter) -> Iterator[Mapping[str, Any]]:
    """All rows that match, host by host, each in the order in which it was stored; as `history.find` gives them.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        found = known_hosts(connection, wanted.host)
    for host_id, host in found.items():
        with reading(engine) as connection:
            span = span_of(connection, host_id, wanted)
        if span is not None:
            yield from _rows_of(engine, host_id, host, span, wanted)


def _rows_of(
    engine: Engine, host_id: int, host: str, span: tuple[int, int], wanted: HistoryFilter
) -> Iterator[Mapping[str, Any]]:
    first, last = span
    while first <= last:
        until = min(first + _PAGE_SNAPSHOTS - 1, last)
        with reading(engine) as connection:
            chosen = Chosen.by(connection, host_id, wanted)
            found = matching_rows(connection, chosen, (first, until))
            rows = whole_rows(connection, host_id, host, found)
        yield from rows
        first = until + 1


def every_alert(engine: Engine, wanted: HistoryFilter, most_rows: int) -> Iterator[AlertWithRows]:
    """All alerts of the hosts and the period, in the order in which they were opened, each with its first rows.

    Args:
        engine: the database.
        wanted: its period and host: alerts whose last finding ended in it.
        most_rows: how many rows of each.

    Raises:
        StoreError: the database is away.
    """
    with reading(engine) as connection:
        host_ids = list(known_hosts(connection, wanted.host))
        newest = connection.scalar(select(func.max(alerts.c.alert_id))) or 0
    conditions: list[Any] = [alerts.c.alert_id <= newest]
    if wanted.host is not None:
        conditions.append(alerts.c.host_id.in_(host_ids))
    if wanted.since is not None:
        conditions.append(alerts.c.end > wanted.since)
    if wanted.until is not None:
        conditions.append(alerts.c.end <= wanted.until)
    statement = select(alerts, hosts.c.host).join(hosts, hosts.c.host_id == alerts.c.host_id).where(*conditions)
    after: int | None = 0
    while after is not None:
        with reading(engine) as connection:
            page = connection.execute(
                statement.where(alerts.c.alert_id > after).order_by(alerts.c.alert_id).limit(_PAGE_ALERTS)
            ).mappings()
            found = [
                AlertWithRows(alert=alert_from(row), rows=alert_rows(connection, row["alert_id"], most_rows))
                for row in page
            ]
        yield from found
        after = found[-1].alert.alert_id if len(found) == _PAGE_ALERTS else None
