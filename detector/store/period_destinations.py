"""The destinations that hosts met for the first time in a period, and which of them have become usual."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, case, func, select

from detector.domain import Direction, Verdict
from detector.store.counting import number_of
from detector.store.filters import known_hosts
from detector.store.moments import microseconds
from detector.store.tables import alert_verdicts, alerts, connection_keys, destination_names, evidence, hourly_counts

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from sqlalchemy import Row, Select

    from detector.domain import IPAddress

# A destination that is met again after so long was not a single errand.
_AGAIN = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)
_MOST_ACTORS = 3
_KEYS = connection_keys.c
_LATELY = connection_keys.alias("lately")


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A destination that is new for a host."""

    host: str
    remote_address: IPAddress
    remote_port: int | None
    remote_name: str | None
    actors: tuple[tuple[str | None, str | None], ...]
    """Accounts (of the login, where there is one) and executables that reached it: some of them."""
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDestinations:
    """Those of all hosts."""

    new: int
    alerted: int
    """Behind an alert that nobody called benign."""
    once: int
    """Of the others, not met again an hour or more later."""
    usual: tuple[Met, ...]
    """The rest: those of them that were met again last."""

    @property
    def normal(self) -> int:
        """How many the rest are."""
        return self.new - self.alerted - self.once


def new_destinations(
    connection: Connection, since: datetime, until: datetime, *, burn_in: timedelta, limit: int
) -> NewDestinations:
    """Addresses with their ports that hosts connected to in [since, until), and never before as far as is stored.

    Args:
        connection: the transaction.
        since: where the period begins.
        until: where it ends.
        burn_in: what a host met for so long after it was first heard of is what it began with, and not new.
        limit: how many of those that became usual are listed, over all hosts.
    """
    new = alerted = once = 0
    usual: list[tuple[int, str, Row[Any]]] = []
    for host_id, host in known_hosts(connection).items():
        first = connection.scalar(select(func.min(_KEYS.first_seen)).where(_KEYS.host_id == host_id))
        if first is None or (begins := max(since, first + burn_in)) >= until:
            continue
        found = _met(host_id, begins, until).subquery()
        told, again = found.c.alerted > 0, found.c.again > 0
        counts = connection.execute(
            select(func.count(), number_of(told), number_of(and_(~told, ~again))).select_from(found)
        ).one()
        new, alerted, once = new + counts[0], alerted + int(counts[1]), once + int(counts[2])
        order = found.c.last_seen.desc(), found.c.remote_address, found.c.remote_port
        listed = select(found).where(~told, again).order_by(*order).limit(limit)
        usual += [(host_id, host, row) for row in connection.execute(listed).all()]
    usual.sort(key=lambda each: each[2].last_seen, reverse=True)
    named = tuple(_named(connection, *each) for each in usual[:limit])
    return NewDestinations(new=new, alerted=alerted, once=once, usual=named)


def _met(host_id: int, since: datetime, until: datetime) -> Select[Any]:
    """What is new for a host, one row for each address and port."""
    # Looked up once for each address: of a scan's ports each would look at all the others.
    lately = (
        select(_LATELY.c.remote_address)
        .where(_LATELY.c.host_id == host_id, _LATELY.c.direction == Direction.OUTBOUND.value)
        .where(_LATELY.c.first_seen >= since, _LATELY.c.first_seen < until)
        .distinct()
    )
    benign = select(alert_verdicts.c.alert_id).where(alert_verdicts.c.verdict == Verdict.BENIGN.value)
    behind = (
        select(evidence.c.key_id)
        .join(alerts, alerts.c.alert_id == evidence.c.alert_id)
        .where(alerts.c.host_id == host_id, alerts.c.end >= since, alerts.c.alert_id.not_in(benign))
    )
    first, last = func.min(_KEYS.first_seen), func.max(_KEYS.last_seen)
    return (
        select(
            _KEYS.remote_address,
            _KEYS.remote_port,
            first.label("first_seen"),
            last.label("last_seen"),
            func.max(case((_KEYS.key_id.in_(behind), 1), else_=0)).label("alerted"),
            case((microseconds(last) - microseconds(first) >= _AGAIN // _MICROSECOND, 1), else_=0).label("again"),
        )
        .where(
            _KEYS.host_id == host_id,
            _KEYS.direction == Direction.OUTBOUND.value,
            _KEYS.remote_address.in_(lately),
            _KEYS.first_seen < until,
        )
        .group_by(_KEYS.remote_address, _KEYS.remote_port)
        .having(first >= since)
    )


def _named(connection: Connection, host_id: int, host: str, row: Row[Any]) -> Met:
    here = (
        _KEYS.host_id == host_id,
        _KEYS.remote_address == row.remote_address,
        _KEYS.remote_port.is_not_distinct_from(row.remote_port),
        _KEYS.direction == Direction.OUTBOUND.value,
    )
    account = func.coalesce(_KEYS.login_user, _KEYS.user).label("account")
    seen = func.max(_KEYS.last_seen).desc()
    actors = (
        select(account, _KEYS.executable)
        .where(*here)
        .group_by(account, _KEYS.executable)
        .order_by(seen, func.coalesce(account, ""), func.coalesce(_KEYS.executable, ""))
        .limit(_MOST_ACTORS)
    )
    hour, name = hourly_counts.c, destination_names.c
    called = (
        select(name.remote_name)
        .join(hourly_counts, (hour.host_id == name.host_id) & (hour.name_id == name.name_id))
        .join(connection_keys, (_KEYS.host_id == hour.host_id) & (_KEYS.key_id == hour.key_id))
        .where(*here, name.remote_name.is_not(None))
        .order_by(hour.last_seen.desc(), name.remote_name)
        .limit(1)
    )
    return Met(
        host=host,
        remote_address=row.remote_address,
        remote_port=row.remote_port,
        remote_name=connection.scalar(called),
        actors=tuple((each.account, each.executable) for each in connection.execute(actors)),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
    )
