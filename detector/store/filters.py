"""What to look for in the past, and the conditions on the tables that this means."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, not_, or_, select

from detector.store.columns import storable
from detector.store.tables import connection_keys, hosts

if TYPE_CHECKING:
    from datetime import datetime
    from ipaddress import IPv4Network

    from sqlalchemy import ColumnElement, Connection

    from detector.domain import Direction, Outcome, Protocol

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


def known_hosts(connection: Connection, pattern: str | None = None) -> dict[int, str]:
    """The names of all hosts in the store, or of those that match a pattern, by number."""
    statement = select(hosts.c.host_id, hosts.c.host).order_by(hosts.c.host_id)
    if pattern is not None:
        statement = statement.where(like(hosts.c.host, pattern, connection.dialect.name))
    return {row.host_id: row.host for row in connection.execute(statement)}


def key_conditions(wanted: HistoryFilter, dialect: str) -> list[ColumnElement[bool]]:
    """What a filter asks of a key, as conditions on `connection_keys`."""
    keys = connection_keys.c
    patterned = ("user", "login_user", "executable", "parent_executable")
    patterns = {name: pattern for name in patterned if (pattern := getattr(wanted, name)) is not None}
    conditions = [like(keys[name], pattern, dialect) for name, pattern in patterns.items()]
    if wanted.remote_addresses is not None:
        conditions.append(within(keys.remote_address, wanted.remote_addresses))
    if wanted.ports:
        port = func.coalesce(keys.remote_port, keys.local_port)
        conditions.append(or_(*(port.between(ports.start, ports.stop - 1) for ports in wanted.ports)))
    if wanted.direction is not None:
        conditions.append(keys.direction == wanted.direction.value)
    if wanted.protocol is not None:
        conditions.append(keys.protocol == wanted.protocol.value)
    return conditions


def like(column: ColumnElement[str | None], pattern: str, dialect: str) -> ColumnElement[bool]:
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


def within(column: ColumnElement[Any], network: IPv4Network | IPv6Network) -> ColumnElement[bool]:
    """The addresses of a network."""
    inside = column.between(network.network_address, network.broadcast_address)
    if isinstance(network, IPv6Network) and network != _MAPPED_IPV4 and network.supernet_of(_MAPPED_IPV4):
        # Asked for IPv6, and IPv4 addresses happen to be stored within it.
        return and_(inside, not_(column.between(_MAPPED_IPV4.network_address, _MAPPED_IPV4.broadcast_address)))
    return inside
