"""All that the past tells of one address, user or program."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, or_, select

from detector.store.alerts import alert_from
from detector.store.chosen import Chosen
from detector.store.filters import HistoryFilter, known_hosts, like, within
from detector.store.grouping import Groups
from detector.store.sums import START, Sums, add_up
from detector.store.tables import alert_values, alerts, connection_keys, hosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from detector.domain import Alert
    from detector.store.grouping import Group

# Whose other destinations are told.
_MOST_ACTORS = 5
# Who reached more is told of by the last ones: the busiest of a host's users have thousands.
_MOST_KEYS = 1000


class Kind(StrEnum):
    """What a dossier is about."""

    ADDRESS = "address"
    USER = "user"
    EXE = "exe"


@dataclass(slots=True)
class Part:
    """What there was in one role: as a destination, as where logins came from, as a user, as a program."""

    role: str
    sums: Sums = field(default_factory=Sums)
    hosts: list[str] = field(default_factory=list)
    groups: dict[str, list[Group]] = field(default_factory=dict)
    """By what they tell, the most attempted first."""
    week: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Connects by weekday (0: Monday) and hour of the local zone."""
    whole: bool = False
    """Some hours count whole though the period cuts them in two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What is known; parts of which nothing is known are missing."""

    parts: Sequence[Part]
    alerts: Sequence[Alert]
    """The last ones."""
    more_alerts: int
    elsewhere: Sequence[Group]
    """What else those reached lately who had to do with it, by user, address and port, the most attempted first."""


_ROLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "the other end": {
        "by whom": ("login_user", "user", "executable"),
        "how": ("direction", "protocol", "port"),
        "names": ("remote_name",),
    },
    "where logins came from": {
        "who": ("login_user", "user"),
        "with what": ("executable",),
        "where to": ("remote_address", "port"),
    },
    "the user": {
        "with what": ("executable",),
        "where to": ("remote_address", "port"),
        "from where": ("login_address",),
        "as": ("login_user", "user"),
    },
    "the program": {
        "by whom": ("login_user", "user"),
        "where to": ("remote_address", "port"),
        "started by": ("parent_executable",),
    },
}


def dossier(connection: Connection, kind: Kind, thing: str, wanted: HistoryFilter, limit: int) -> Dossier:
    """What is known of something.

    Args:
        connection: the transaction.
        kind: what it is.
        thing: an address or a network; else a pattern as in `HistoryFilter`.
        wanted: its period and host.
        limit: how many of each list.

    Raises:
        ValueError: no address.
    """
    dialect = connection.dialect.name
    keys = connection_keys.c
    if kind is Kind.ADDRESS:
        network = ip_network(thing, strict=False)
        of_login = HistoryFilter(since=wanted.since, until=wanted.until, host=wanted.host, login_addresses=network)
        looks = [("the other end", wanted, [within(keys.remote_address, network)])]
        looks.append(("where logins came from", of_login, []))
    elif kind is Kind.USER:
        looks = [("the user", wanted, [or_(like(keys.login_user, thing, dialect), like(keys.user, thing, dialect))])]
    else:
        program = or_(like(keys.executable, thing, dialect), like(keys.script, thing, dialect))
        looks = [("the program", wanted, [program])]
    parts = [_part(connection, role, of, conditions, limit) for role, of, conditions in looks]
    found, more = _alerts(connection, kind, thing, wanted, limit)
    return Dossier(
        parts=[part for part in parts if part.sums.last_seen is not None],
        alerts=found,
        more_alerts=more,
        elsewhere=_elsewhere(connection, kind, parts[0], looks[0][2], wanted, limit),
    )


def _part(
    connection: Connection, role: str, wanted: HistoryFilter, conditions: Sequence[ColumnElement[bool]], limit: int
) -> Part:
    part = Part(role)
    tables = {title: Groups(by) for title, by in _ROLES[role].items()}
    numbers = tuple(dict.fromkeys(number for groups in tables.values() for number in groups.places))
    for host_id, host in known_hosts(connection, wanted.host).items():
        chosen = Chosen.by(connection, host_id, wanted, *conditions)
        by_key, by_hour = add_up(connection, chosen, numbers, (START,))
        if by_key.by:
            part.hosts.append(host)
        for sums in by_key.by.values():
            part.sums.merge(sums)
        for groups in tables.values():
            groups.add(connection, host_id, host, by_key)
        for (start,), sums in by_hour.by.items():
            shown = start.astimezone()
            part.week[shown.weekday(), shown.hour] += max(sums.numbers[1], sum(sums.numbers[2:6]))
        part.whole |= by_key.whole > 0
    part.groups = {title: _first(groups.found, limit) for title, groups in tables.items()}
    return part


def _first(groups: Sequence[Group], limit: int) -> list[Group]:
    """Those with the most connects."""
    known = [group for group in groups if any(value is not None for value in group.place)]
    ordered = sorted(known, key=lambda group: tuple(map(str, group.place)))
    return sorted(ordered, key=lambda group: group.sums.numbers[1:3], reverse=True)[:limit]


def _elsewhere(
    connection: Connection,
    kind: Kind,
    part: Part,
    conditions: Sequence[ColumnElement[bool]],
    wanted: HistoryFilter,
    limit: int,
) -> list[Group]:
    """What else was reached lately by those who had most to do with an address or a program."""
    if kind is Kind.USER:
        return []
    named = dict.fromkeys((group.values["login_user"] or group.values["user"]) for group in part.groups["by whom"])
    actors = [name for name in named if name is not None][:_MOST_ACTORS]
    if not actors:
        return []
    keys = connection_keys.c
    who = func.coalesce(keys.login_user, keys.user)
    # What is unknown of a key is not what is asked for either.
    others = [who.in_(actors), ~func.coalesce(and_(*conditions), False)]
    groups = Groups(("login_user", "user", "remote_address", "port"))
    for host_id, host in known_hosts(connection, wanted.host).items():
        last = select(keys.key_id).where(keys.host_id == host_id, *others).order_by(keys.last_seen.desc())
        latest = keys.key_id.in_(last.limit(_MOST_KEYS).scalar_subquery())
        chosen = Chosen.by(connection, host_id, wanted, latest)
        (summed,) = add_up(connection, chosen, groups.places, scores=False)
        groups.add(connection, host_id, host, summed)
    return _first(groups.found, limit)


_ALERT_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ADDRESS: ("address", "login_address"),
    Kind.USER: ("user", "login_user"),
    Kind.EXE: ("executable", "script"),
}


def _alerts(
    connection: Connection, kind: Kind, thing: str, wanted: HistoryFilter, limit: int
) -> tuple[list[Alert], int]:
    """The last alerts that name it, and how many more there are."""
    network = ip_network(thing, strict=False) if kind is Kind.ADDRESS else None
    if network is not None and network.num_addresses > 1:
        # They name addresses as texts.
        return [], 0
    text = str(network.network_address) if network is not None else thing
    values = alert_values.c
    among_several = exists().where(
        values.alert_id == alerts.c.alert_id,
        values.field.in_(_ALERT_FIELDS[kind]),
        like(values.value, text, connection.dialect.name),
    )
    common = (alerts.c.common[field].as_string() for field in _ALERT_FIELDS[kind])
    named = or_(*(like(value, text, connection.dialect.name) for value in common), among_several)
    conditions: list[Any] = [named, alerts.c.host_id.in_(list(known_hosts(connection, wanted.host)))]
    if wanted.since is not None:
        conditions.append(alerts.c.end > wanted.since)
    if wanted.until is not None:
        conditions.append(alerts.c.end <= wanted.until)
    total = connection.scalar(select(func.count()).select_from(alerts).where(*conditions)) or 0
    statement = select(alerts, hosts.c.host).join(hosts, hosts.c.host_id == alerts.c.host_id).where(*conditions)
    rows = connection.execute(statement.order_by(alerts.c.end.desc(), alerts.c.alert_id.desc()).limit(limit))
    found = [alert_from(row) for row in rows.mappings()]
    return found, total - len(found)
