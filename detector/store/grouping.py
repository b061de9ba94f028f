"""Sums over the past by what people ask for: users, destinations, days; and the keys that are new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, func, select, type_coerce

from detector.store import bulk
from detector.store.chosen import Chosen
from detector.store.columns import Address, unpacked
from detector.store.filters import known_hosts
from detector.store.periods import SUMMED
from detector.store.sums import START, Summed, Sums, add_up
from detector.store.tables import connection_keys, destination_names, login_origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Table

    from detector.store.filters import HistoryFilter

_KEY_FIELDS = (
    *("direction", "protocol", "executable", "script", "command", "parent_executable", "user", "login_user"),
    *("unit", "container", "remote_address", "remote_port", "local_port"),
)
_ORIGIN_FIELDS = ("login_address", "login_source")
_NAME_FIELDS = ("remote_name", "remote_country", "remote_network")
PORT = "port"
"""The remote port of outbound connections, the local port of inbound ones."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIMES: Mapping[str, Callable[[datetime], Any]] = {
    "hour": lambda local: local,
    "hour_of_day": lambda local: local.hour,
    "day": lambda local: local.date(),
    "weekday": lambda local: WEEKDAYS[local.weekday()],
}
FIELDS = ("host", *_KEY_FIELDS, PORT, *_ORIGIN_FIELDS, *_NAME_FIELDS, *_TIMES)
"""By which can be grouped. Hours, days and weekdays are those of the local zone."""


@dataclass(slots=True)
class Group:
    """What has the same values, and its sums."""

    by: Sequence[str]
    place: tuple[Any, ...]
    """The values of `by`; addresses packed, since few of many groups are looked at."""
    sums: Sums = field(default_factory=Sums)
    addresses: set[Any] = field(default_factory=set)
    ports: set[Any] = field(default_factory=set)
    users: set[Any] = field(default_factory=set)
    """Who logged in, or where that is not known, the account: the distinct ones, with their hosts."""

    @property
    def values(self) -> dict[str, Any]:
        """The values that it is of, by name of FIELDS."""
        values = zip(self.by, self.place, strict=True)
        return {name: unpacked(value) if isinstance(value, bytes) else value for name, value in values}

    def as_row(self) -> dict[str, Any]:
        """All of it by name, with the number of what is distinct."""
        sums = self.sums
        return {
            **self.values,
            **dict(zip(SUMMED, sums.numbers, strict=True)),
            "handshake_us_max": sums.handshake_us_max,
            "destinations": len(self.addresses),
            "ports": len(self.ports),
            "users": len(self.users),
            "first_seen": sums.first_seen,
            "last_seen": sums.last_seen,
            "peak_score": sums.peak_score,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """Groups, in no order."""

    groups: Sequence[Group]
    whole: bool
    """Some hours or days count whole though the period cuts them in two."""
    about: bool
    """Some count whole though only some of their snapshots match."""


def grouped(
    connection: Connection,
    wanted: HistoryFilter,
    by: Sequence[str],
    *,
    more: Sequence[ColumnElement[bool]] = (),
) -> Grouped:
    """The sums of all that matches, by the values of fields.

    Args:
        connection: the transaction.
        wanted: what to look for.
        by: names of FIELDS.
        more: conditions on `connection_keys`, beside those of the filter.
    """
    groups = Groups(by)
    whole = about = False
    for host_id, host in known_hosts(connection, wanted.host).items():
        (summed,) = add_up(connection, Chosen.by(connection, host_id, wanted, *more), groups.places)
        whole |= summed.whole > 0
        about |= summed.about
        groups.add(connection, host_id, host, summed)
    return Grouped(groups=groups.found, whole=whole, about=about)


class Groups:
    """Sums of any number of hosts, by the values of fields."""

    def __init__(self, by: Sequence[str]) -> None:
        """`by` are names of FIELDS."""
        self._by = by
        self._groups: dict[tuple[Any, ...], Group] = {}

    @property
    def places(self) -> tuple[str, ...]:
        """What sums have to be by, at least, to be added: the key first, since it says what is distinct."""
        places = ["key_id"]
        for names, number in ((_ORIGIN_FIELDS, "origin_id"), (_NAME_FIELDS, "name_id"), (_TIMES, START)):
            if not set(names).isdisjoint(self._by):
                places.append(number)
        return tuple(places)

    @property
    def found(self) -> list[Group]:
        """In no order."""
        return list(self._groups.values())

    def add(self, connection: Connection, host_id: int, host: str, summed: Summed) -> None:
        """Adds the sums of a host."""
        values = _Values(connection, host_id, host, self._by, summed.names, summed.by)
        for place, sums in summed.by.items():
            if (of_place := values.of(place)) is None:
                continue
            group = self._groups.get(of_place)
            if group is None:
                group = self._groups[of_place] = Group(self._by, of_place)
            group.sums.merge(sums)
            for distinct, value in zip(
                (group.addresses, group.ports, group.users), values.distinct(place), strict=True
            ):
                if value is not None:
                    distinct.add(value)


def _raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Addresses as they are stored."""
    return type_coerce(column, LargeBinary) if isinstance(column.type, Address) else column


class _Values:
    """What the numbers of a host stand for, looked up at once."""

    def __init__(
        self,
        connection: Connection,
        host_id: int,
        host: str,
        by: Sequence[str],
        places: Sequence[str],
        found: Iterable[tuple[Any, ...]],
    ) -> None:
        self._connection = connection
        self._host_id = host_id
        self._of_place: list[Callable[[tuple[Any, ...]], Any]] = []
        known = list(found)
        keys = connection_keys.c
        port = func.coalesce(keys.remote_port, keys.local_port).label(PORT)
        of_key = [name for name in by if name in _KEY_FIELDS]
        columns = [_raw(keys.remote_address), port, keys.login_user, keys.user, *(_raw(keys[name]) for name in of_key)]
        self._keys = self._look_up(connection_keys, columns, {place[0] for place in known})
        others: dict[str, dict[int, Any]] = {}
        for table, number, names in (
            (login_origins, "origin_id", _ORIGIN_FIELDS),
            (destination_names, "name_id", _NAME_FIELDS),
        ):
            if number in places:
                at = places.index(number)
                others[number] = self._look_up(
                    table, [_raw(table.c[name]) for name in names], {place[at] for place in known}
                )
        at_start = places.index(START) if START in places else 0
        local: dict[datetime, datetime] = {}
        if at_start:
            local = {moment: moment.astimezone() for moment in {place[at_start] for place in known}}
        for name in by:
            self._of_place.append(self._getter(name, host, of_key, places, others, at_start, local))

    def _getter(
        self,
        name: str,
        host: str,
        of_key: Sequence[str],
        places: Sequence[str],
        others: Mapping[str, Mapping[int, Any]],
        at_start: int,
        local: Mapping[datetime, datetime],
    ) -> Callable[[tuple[Any, ...]], Any]:
        keys = self._keys
        if name == "host":
            return lambda _: host
        if name == PORT:
            return lambda place: keys[place[0]][1]
        if name in _KEY_FIELDS:
            column = 4 + of_key.index(name)
            return lambda place: keys[place[0]][column]
        if name in _TIMES:
            means = {moment: _TIMES[name](shown) for moment, shown in local.items()}
            return lambda place: means[place[at_start]]
        number, names = ("origin_id", _ORIGIN_FIELDS) if name in _ORIGIN_FIELDS else ("name_id", _NAME_FIELDS)
        at, column, of_number = places.index(number), names.index(name), others[number]
        nothing = (None,) * len(names)
        return lambda place: of_number.get(place[at], nothing)[column]

    def of(self, place: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The values of the fields; None of a key that is not there any more."""
        return tuple(get(place) for get in self._of_place) if place[0] in self._keys else None

    def distinct(self, place: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        """The address, the port, and the user with the host."""
        address, port, login_user, user, *_ = self._keys[place[0]]
        who = login_user or user
        return address, port, None if who is None else (self._host_id, who)

    def _look_up(self, table: Table, columns: Sequence[ColumnElement[Any]], numbers: set[int]) -> dict[int, Any]:
        number = next(column for column in table.primary_key if column.name != "host_id")
        statement = select(number, *columns).where(
            table.c.host_id == self._host_id, bulk.among(self._connection, number, numbers)
        )
        return {row[0]: tuple(row[1:]) for row in self._connection.execute(statement).all()}
