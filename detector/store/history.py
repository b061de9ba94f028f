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

from sqlalchemy import Connection, and_, case, func, not_, or_, select

from detector.store.columns import storable
from detector.store.packed import Names, read_packed
from detector.store.tables import connection_keys, destination_names, findings, hosts, login_origins, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from ipaddress import IPv4Network

    from sqlalchemy import ColumnElement, Table

    from detector.domain import Direction, Outcome, Protocol
    from detector.store.packed import PackedSnapshot

MOST_COUNTED = 100_000
"""Rows beyond those asked for are counted up to this number: nobody reads an exact larger one, and it takes long."""

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

    rows: tuple[Mapping[str, Any], ...]
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

    Rows have `host`, `start` and `end`, what `packed.Names` gives, and the columns of observations (None where
    detection has not been).
    """
    found: list[dict[str, Any]] = []
    matching = 0
    for host_id, host in known_hosts(connection, wanted.host).items():
        span = span_of(connection, host_id, wanted)
        if span is None:
            continue
        newest: list[tuple[PackedSnapshot, list[int]]] = []
        here = 0
        for snapshot, rows in matching_rows(connection, host_id, span, wanted, newest_first=True):
            if here < limit:
                newest.append((snapshot, rows[here - limit :]))
            here += len(rows)
            if matching + here >= limit + MOST_COUNTED:
                break
        matching += here
        found += whole_rows(connection, host_id, host, newest)
    found.sort(key=_ORDER)
    shown = tuple(found[-limit:])
    return Page(rows=shown, total_more=min(matching - len(shown), MOST_COUNTED))


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


def matching_rows(
    connection: Connection,
    host_id: int,
    span: tuple[int, int],
    wanted: HistoryFilter,
    *,
    newest_first: bool = False,
) -> Iterator[tuple[PackedSnapshot, list[int]]]:
    """The snapshots of a host in a span that have rows that match, each with the numbers of these.

    Raises:
        PackingError: what is stored is damaged.
    """
    chosen = _Chosen.by(connection, host_id, wanted)
    if chosen.nothing:
        return
    period = (wanted.since, wanted.until)
    for snapshot in read_packed(connection, host_id, span, period=period, newest_first=newest_first):
        if rows := chosen.rows(snapshot):
            yield snapshot, rows


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a row has to be; None: anything. Numbers of keys, origins and names, looked up once for all rows."""

    columns: Mapping[str, frozenset[int]]
    outcome: str | None
    min_score: float | None

    @classmethod
    def by(cls, connection: Connection, host_id: int, wanted: HistoryFilter) -> _Chosen:
        dialect = connection.dialect.name
        columns: dict[str, frozenset[int]] = {}

        def choose(table: Table, name: str, *conditions: ColumnElement[bool]) -> None:
            numbers = select(table.c[name]).where(table.c.host_id == host_id, *conditions)
            columns[name] = frozenset(connection.scalars(numbers))

        if conditions := _key_conditions(wanted, dialect):
            choose(connection_keys, "key_id", *conditions)
        if wanted.login_addresses is not None:
            choose(login_origins, "origin_id", _within(login_origins.c.login_address, wanted.login_addresses))
        if wanted.remote_name is not None:
            name = func.lower(destination_names.c.remote_name)
            choose(destination_names, "name_id", _like(name, wanted.remote_name.lower(), dialect))
        return cls(columns, wanted.outcome.value if wanted.outcome else None, wanted.min_score)

    @property
    def nothing(self) -> bool:
        """Whether there is no such row."""
        return not all(self.columns.values())

    def rows(self, snapshot: PackedSnapshot) -> list[int]:
        """The numbers of the rows that are so."""
        rows: Iterable[int] = range(snapshot.rows)
        for name, numbers in self.columns.items():
            values = snapshot.counts[name]
            rows = [row for row in rows if values[row] in numbers]
        if self.outcome is not None:
            counts = snapshot.counts[self.outcome]
            rows = [row for row in rows if counts[row]]
        if self.min_score is not None:
            if (observed := snapshot.observations) is None:
                return []
            least = self.min_score
            rows = [row for row in rows if (score := observed.score(row)) is not None and score >= least]
        return list(rows)


def _row(host_id: int, host: str, snapshot: PackedSnapshot, row: int) -> dict[str, Any]:
    """A row with the numbers of what it is made of."""
    place = {"host": host, "start": snapshot.start, "end": snapshot.end, "host_id": host_id, "seq": snapshot.seq}
    return {**place, **snapshot.numbers(row), **snapshot.observed(row)}


def whole_rows(
    connection: Connection, host_id: int, host: str, found: Iterable[tuple[PackedSnapshot, Iterable[int]]]
) -> list[dict[str, Any]]:
    """Rows of packed snapshots as `find` gives them."""
    numbers = [_row(host_id, host, snapshot, row) for snapshot, rows in found for row in rows]
    return Names(connection, host_id).rows(numbers)


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
