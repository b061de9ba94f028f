"""What the rows of alerts say: the value of a field in which all of them agree stands with the alert, and where they
differ, each value is a row of its own. Nearly all alerts need none, and a scan needs 65,535.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from detector.alerts.facts import Distinct
from detector.store import bulk
from detector.store.columns import unpacked
from detector.store.tables import alert_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

Common = dict[str, str | None]
"""By field what the rows of an alert agree in, "" if it is not known; None: they differ."""
Several = dict[str, set[str]]
"""By field the values of an alert's rows."""
MOST_VALUES = 100_000
"""About so many addresses and ports of an alert are told apart; of more it says so many."""

_COLUMNS = alert_values.c
_NAMES = ("alert_id", "field", "value")
_LONGEST_VALUE = 256
_FEW_VALUES = 100
# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_ALERTS_PER_QUERY = 1000
# What is said of all rows must be known of all: of these, not to know is a value as well.
_KNOWN_OF_ALL = frozenset({"script", "login_address"})


@dataclass(frozen=True, slots=True)
class Found:
    """The values of rows, by alert: `sole` has a value of each field, and `several` all of those with more than one."""

    sole: dict[int, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    several: dict[int, Several] = field(default_factory=lambda: defaultdict(dict))

    def add(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Notes rows of an alert's number and the values of these fields; None: not known; bytes: an address."""
        if not rows:
            return
        alert_ids, *columns = zip(*rows, strict=True)
        said = {name: _texts(name, column) for name, column in zip(names, columns, strict=True)}
        # Most rows know nothing of some of the fields.
        known = {name: texts for name, texts in said.items() if texts.count(None) < len(texts)}
        names = tuple(known)
        for alert_id, *texts in zip(alert_ids, *known.values(), strict=True):
            sole = self.sole[alert_id]
            if not sole and None not in texts:
                sole.update(zip(names, texts, strict=True))
                continue
            for name, text in zip(names, texts, strict=True):
                if text is None:
                    continue
                first = sole.setdefault(name, text)
                if first != text:
                    self.several[alert_id].setdefault(name, {first}).add(text)

    def common(self, alert_id: int, before: Mapping[str, str | None]) -> Common:
        """What an alert's rows agree in, these and those before."""
        if not before:
            return self.sole.get(alert_id, {}) | dict.fromkeys(self.several.get(alert_id, ()))
        sole = self.sole.get(alert_id, {})
        if alert_id not in self.several and sole.items() <= before.items():
            # What goes on for long says the same again.
            return dict(before)
        after = dict(before)
        several = self.several.get(alert_id, {})
        for name, value in sole.items():
            if name in several or after.setdefault(name, value) != value:
                after[name] = None
        return after

    def differing(self, alert_id: int, before: Mapping[str, str | None], after: Common) -> Several:
        """The values of the fields in which an alert's rows differ now: these, and those that were common before."""
        several = self.several.get(alert_id, {})
        if not before:
            return several
        if None not in after.values():
            return {}
        found: Several = {}
        for name, value in self.sole.get(alert_id, {}).items():
            if after[name] is None:
                of_before = before.get(name)
                found[name] = several.get(name, {value}) | ({of_before} if of_before is not None else set())
        return found


def write(connection: Connection, differing: Mapping[int, Several], opened: Iterable[int] = ()) -> None:
    """Adds the values in which alerts' rows differ, each once.

    Less what is too much: a scan of many hours has millions of addresses, and nobody needs to know the exact number.
    What there are few of, such as users, is always noted.

    Args:
        opened: those of the alerts that had no rows before.
    """
    new, rows = frozenset(opened), list[tuple[int, str, str]]()
    for alert_id, several in differing.items():
        many = sum(map(len, several.values())) > _FEW_VALUES
        full = many and alert_id not in new and _is_full(connection, alert_id)
        rows += [
            (alert_id, name, value)
            for name, values in several.items()
            if not full or name not in {"address", "port"}
            for value in sorted(values)
        ]
    bulk.add_any(connection, alert_values, _NAMES, rows, missing=True)


def distinct(
    connection: Connection, common: Mapping[int, Common], opened: Mapping[int, Several]
) -> dict[int, dict[str, Distinct]]:
    """How many addresses, ports, users … the rows of each alert name, by alert and field.

    Fields: direction, protocol, manner ("connect", "flow"), user, login_user, login_address, executable, script,
    address, unaddressed (there are rows without an address), remote_name, port. Of alerts about capture, executable
    alone: the programs whose destinations were not counted.

    Args:
        common: what they agree in.
        opened: of alerts whose values are not written yet, those in which they differ.
    """
    differ = [each for each, fields in common.items() if None in fields.values() and each not in opened]
    numbers = dict[tuple[int, str], int]()
    if differ:
        counted = (
            select(_COLUMNS.alert_id, _COLUMNS.field, func.count())
            .where(bulk.among(connection, _COLUMNS.alert_id, differ))
            .group_by(_COLUMNS.alert_id, _COLUMNS.field)
        )
        numbers = {(alert_id, name): number for alert_id, name, number in connection.execute(counted).all()}
    # The alerts of a snapshot are alike.
    known = dict[str, Distinct]()
    result = dict[int, dict[str, Distinct]]()
    for alert_id, fields in common.items():
        of_alert = result[alert_id] = dict[str, Distinct]()
        for name, value in fields.items():
            if value is not None:
                of_alert[name] = known.get(value) or known.setdefault(value, Distinct(1, value or None))
            else:
                many = opened.get(alert_id, {})
                number = len(many[name]) if name in many else numbers.get((alert_id, name), 0)
                # They differ, even if the values have been deleted.
                of_alert[name] = Distinct(max(number, 2))
    return result


def all_of(
    connection: Connection,
    common: Mapping[int, Common],
    *,
    unwritten: Mapping[int, Several] | None = None,
    fields: Sequence[str] | None = None,
) -> dict[int, Several]:
    """The values of the rows of alerts, by alert and field.

    Args:
        common: what they agree in.
        unwritten: the values in which rows differ, of alerts of which they are not written yet.
        fields: of these alone; None: of all.
    """
    known = unwritten or {}
    result = {
        alert_id: {name: {value} for name, value in said.items() if value is not None and _is_among(name, fields)}
        | known.get(alert_id, {})
        for alert_id, said in common.items()
    }
    differ = [each for each, said in common.items() if None in said.values() and each not in known]
    for start in range(0, len(differ), _ALERTS_PER_QUERY):
        wanted = [bulk.among(connection, _COLUMNS.alert_id, differ[start : start + _ALERTS_PER_QUERY])]
        wanted += [] if fields is None else [_COLUMNS.field.in_(fields)]
        rows = connection.execute(select(*(_COLUMNS[each] for each in _NAMES)).where(*wanted))
        for alert_id, name, value in rows:
            result[alert_id].setdefault(name, set()).add(value)
    return result


def _is_among(name: str, fields: Sequence[str] | None) -> bool:
    return fields is None or name in fields


def _texts(name: str, values: Sequence[Any]) -> list[str | None]:
    """Values of a field as they are noted; None: not known, and nothing is noted of it."""
    # Of many rows there are few users and programs.
    known = {value: _bounded(_text(value)) for value in set(values) if value is not None}
    unknown = "" if name in _KNOWN_OF_ALL else None
    return [unknown if value is None else known[value] for value in values]


def _text(value: Any) -> str:
    return str(unpacked(value)) if isinstance(value, bytes) else str(value)


def _bounded(value: str) -> str:
    # Postgres refuses index entries of more than 2,704 bytes, and whoever is watched chooses how long a path is.
    if len(value) <= _LONGEST_VALUE:
        return value
    return value[:_LONGEST_VALUE] + blake2b(value.encode(), digest_size=16).hexdigest()


def _is_full(connection: Connection, alert_id: int) -> bool:
    some = select(_COLUMNS.value).where(_COLUMNS.alert_id == alert_id).limit(MOST_VALUES).subquery()
    return (connection.scalar(select(func.count()).select_from(some)) or 0) >= MOST_VALUES
