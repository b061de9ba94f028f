"""Questions to the past: which rows match a filter, and how often each rule matched.

Every search goes host by host over a span of snapshots: that is how the large tables are keyed, on one bastion and in
a fleet alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Network
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, case, func, literal, not_, or_, select

from detector.store.columns import storable
from detector.store.rows import ROW_COLUMNS, with_names
from detector.store.tables import (
    connection_counts,
    connection_keys,
    destination_names,
    findings,
    hosts,
    login_origins,
    observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from ipaddress import IPv4Network

    from sqlalchemy import ColumnElement, RowMapping, Table

    from detector.domain import Direction, Outcome, Protocol

MOST_COUNTED = 100_000
"""Rows beyond those asked for are counted up to this number: nobody reads an exact larger one, and it takes long."""

_PLACE = ("host_id", "seq", "key_id", "session")
_OBSERVATION_COLUMNS = [c for c in observations.c if c.name not in _PLACE]
_SNAPSHOT_OF_COUNT = and_(
    snapshots.c.host_id == connection_counts.c.host_id, snapshots.c.seq == connection_counts.c.seq
)
_OBSERVATION_OF_COUNT = and_(*(observations.c[name] == connection_counts.c[name] for name in _PLACE))
_ORDER = itemgetter("end", "host_id", "seq", "key_id", "session")
# IPv4 is stored as this part of IPv6.
_MAPPED_IPV4 = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """What to look for; None and empty mean anything. A row must satisfy all of it.

    Texts are patterns: `*` stands for any characters, `?` for any one, and everything else, case included, for itself.
    """

    since: datetime | None = None
    """The snapshot ended after this."""
    until: datetime | None = None
    """The snapshot ended at this or before, so that two periods that meet share no row."""
    host: str | None = None
    user: str | None = None
    login_user: str | None = None
    login_addresses: IPv4Network | IPv6Network | None = None
    """The login came from an address in this network."""
    executable: str | None = None
    parent_executable: str | None = None
    remote_addresses: IPv4Network | IPv6Network | None = None
    """The remote address is in this network."""
    remote_name: str | None = None
    """Case does not matter here, as it does not in DNS."""
    ports: tuple[range, ...] = ()
    """The remote port of outbound connections, the local port of inbound ones."""
    direction: Direction | None = None
    protocol: Protocol | None = None
    outcome: Outcome | None = None
    """At least one connect ended so."""
    min_score: float | None = None
    """The score is known, and at least this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The newest matching rows, oldest first, with the names of the design; and how many older ones match too."""

    rows: tuple[RowMapping, ...]
    total_more: int
    """Exact up to MOST_COUNTED, which stands for that many or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleHits:
    """How many findings a rule had."""

    day: int = 0
    """In the last 24 hours."""
    month: int = 0
    """In the last 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of findings of one alert, and how often."""

    decision: str
    findings: int
    start: datetime
    end: datetime


def known_hosts(connection: Connection, pattern: str | None = None) -> dict[int, str]:
    """The names of all hosts in the store, or of those that match a pattern, by number."""
    statement = select(hosts.c.host_id, hosts.c.host).order_by(hosts.c.host_id)
    if pattern is not None:
        statement = statement.where(_like(hosts.c.host, pattern, connection.dialect.name))
    return {row.host_id: row.host for row in connection.execute(statement)}


def find(connection: Connection, wanted: HistoryFilter, limit: int) -> Page:
    """The newest `limit` rows that match `wanted`, over all hosts: each one key in one snapshot.

    Rows have `host`, `start` and `end`, the columns of `rows.ROW_COLUMNS`, and those of observations (None where
    detection has not been).
    """
    dialect = connection.dialect.name
    found: list[RowMapping] = []
    matching = 0
    for host_id, host in known_hosts(connection, wanted.host).items():
        span = span_of(connection, host_id, wanted)
        if span is None:
            continue
        conditions = conditions_for(host_id, span, wanted, dialect)
        newest_first = [_driving(wanted).c[name].desc() for name in ("seq", "key_id", "session")]
        rows = connection.execute(rows_where(host, conditions).order_by(*newest_first).limit(limit))
        found += rows.mappings()
        if matching < limit + MOST_COUNTED:
            some = _row_marks(conditions, wanted).limit(limit + MOST_COUNTED - matching)
            matching += connection.scalar(select(func.count()).select_from(some.subquery())) or 0
    found.sort(key=_ORDER)
    newest = tuple(found[-limit:])
    return Page(rows=newest, total_more=matching - len(newest))


def rule_hits(connection: Connection, *, now: datetime) -> Mapping[str, RuleHits]:
    """The findings of each rule, by its id, over all hosts; rules without any in 30 days are missing."""
    day, month = now - timedelta(hours=24), now - timedelta(days=30)
    hits: dict[str, RuleHits] = {}
    for host_id in known_hosts(connection):
        first = (
            select(func.min(snapshots.c.seq))
            .where(snapshots.c.host_id == host_id, snapshots.c.end > month)
            .scalar_subquery()
        )
        rows = connection.execute(
            select(findings.c.rule_id, func.sum(case((findings.c.end > day, 1), else_=0)), func.count())
            .where(findings.c.host_id == host_id, findings.c.seq >= first, findings.c.end > month)
            .group_by(findings.c.rule_id)
        )
        for rule_id, in_day, in_month in rows:
            other = hits.get(rule_id, RuleHits())
            hits[rule_id] = RuleHits(day=other.day + in_day, month=other.month + in_month)
    return hits


def decisions(connection: Connection, alert_id: int) -> list[Decision]:
    """What was decided about the findings of an alert, by the named reasons, the first decision first."""
    rows = connection.execute(
        select(
            findings.c.decision,
            func.count().label("findings"),
            func.min(findings.c.start).label("start"),
            func.max(findings.c.end).label("end"),
        )
        .where(findings.c.alert_id == alert_id)
        .group_by(findings.c.decision)
        .order_by(func.min(findings.c.end), findings.c.decision)
    ).mappings()
    return [Decision(**row) for row in rows]


def span_of(connection: Connection, host_id: int, wanted: HistoryFilter) -> tuple[int, int] | None:
    """The first and last snapshot of the host in the wanted period, found by the index on their end."""
    first, last = connection.execute(
        select(func.min(snapshots.c.seq), func.max(snapshots.c.seq)).where(
            snapshots.c.host_id == host_id, *_period(wanted)
        )
    ).one()
    return None if first is None else (first, last)


def _period(wanted: HistoryFilter) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.since is not None:
        conditions.append(snapshots.c.end > wanted.since)
    if wanted.until is not None:
        conditions.append(snapshots.c.end <= wanted.until)
    return conditions


def _driving(wanted: HistoryFilter) -> Table:
    """The table to go through in the order of its primary key: the one that has to be looked at row by row."""
    return connection_counts if wanted.min_score is None else observations


def rows_where(host: str, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Rows as `find` gives them."""
    of_snapshot = [literal(host).label("host"), snapshots.c.start, snapshots.c.end]
    counts = (
        select(*of_snapshot, *ROW_COLUMNS, *_OBSERVATION_COLUMNS)
        .select_from(connection_counts)
        .join(snapshots, _SNAPSHOT_OF_COUNT)
    )
    return with_names(counts).outerjoin(observations, _OBSERVATION_OF_COUNT).where(*conditions)


def _row_marks(conditions: Sequence[ColumnElement[bool]], wanted: HistoryFilter) -> Select[Any]:
    """A column for each matching row; joins no more than the conditions ask for."""
    statement = select(literal(1)).select_from(connection_counts)
    if _period(wanted):
        statement = statement.join(snapshots, _SNAPSHOT_OF_COUNT)
    if wanted.min_score is not None:
        statement = statement.join(observations, _OBSERVATION_OF_COUNT)
    return statement.where(*conditions)


def conditions_for(
    host_id: int, span: tuple[int, int], wanted: HistoryFilter, dialect: str
) -> list[ColumnElement[bool]]:
    """What a row of the host and the span of snapshots has to satisfy."""
    driving, counts = _driving(wanted).c, connection_counts.c
    # The span makes it a search by primary key; the period is exact where a clock was set back within the span.
    conditions = [driving.host_id == host_id, driving.seq.between(*span), *_period(wanted)]
    if key_conditions := _key_conditions(wanted, dialect):
        # Found once for all rows: to look up the key of each row takes ten times as long.
        keys = select(connection_keys.c.key_id).where(connection_keys.c.host_id == host_id, *key_conditions)
        conditions.append(driving.key_id.in_(keys))
    if wanted.login_addresses is not None:
        origins = login_origins.c
        inside = _within(origins.login_address, wanted.login_addresses)
        conditions.append(counts.origin_id.in_(select(origins.origin_id).where(origins.host_id == host_id, inside)))
    if wanted.remote_name is not None:
        names = destination_names.c
        like = _like(func.lower(names.remote_name), wanted.remote_name.lower(), dialect)
        conditions.append(counts.name_id.in_(select(names.name_id).where(names.host_id == host_id, like)))
    if wanted.outcome is not None:
        conditions.append(counts[wanted.outcome.value] > 0)
    if wanted.min_score is not None:
        conditions.append(observations.c.score >= wanted.min_score)
    return conditions


def _key_conditions(wanted: HistoryFilter, dialect: str) -> list[ColumnElement[bool]]:
    keys = connection_keys.c
    patterned = ("user", "login_user", "executable", "parent_executable")
    patterns = {name: pattern for name in patterned if (pattern := getattr(wanted, name)) is not None}
    conditions = [_like(keys[name], pattern, dialect) for name, pattern in patterns.items()]
    if wanted.remote_addresses is not None:
        conditions.append(_within(keys.remote_address, wanted.remote_addresses))
    if wanted.ports:
        port = func.coalesce(keys.remote_port, keys.local_port)
        conditions.append(or_(*(port.between(ports.start, ports.stop - 1) for ports in wanted.ports)))
    if wanted.direction is not None:
        conditions.append(keys.direction == wanted.direction.value)
    if wanted.protocol is not None:
        conditions.append(keys.protocol == wanted.protocol.value)
    return conditions


def _like(column: ColumnElement[str | None], pattern: str, dialect: str) -> ColumnElement[bool]:
    """`column` matches a pattern of `*` and `?`, case and all.

    SQLite's LIKE takes no notice of case, so that its GLOB is used there, in which a class ([*]) is a literal.
    """
    pattern = storable(pattern)
    if not {"*", "?"} & set(pattern):
        return column == pattern
    if dialect == "sqlite":
        return column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
    escapes = {"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%", "?": "_"}
    return column.like("".join(escapes.get(character, character) for character in pattern), escape="\\")


def _within(column: ColumnElement[Any], network: IPv4Network | IPv6Network) -> ColumnElement[bool]:
    inside = column.between(network.network_address, network.broadcast_address)
    if isinstance(network, IPv6Network) and network != _MAPPED_IPV4 and network.supernet_of(_MAPPED_IPV4):
        # Asked for IPv6, and IPv4 addresses happen to be stored within it.
        return and_(inside, not_(column.between(_MAPPED_IPV4.network_address, _MAPPED_IPV4.broadcast_address)))
    return inside
