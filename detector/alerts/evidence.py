"""The rows behind alerts: stored once each, added up in the database.

Totals advance by the rows that a snapshot adds, so that an incident of many hours costs no more than its last interval.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from detector.alerts.facts import Distinct, Totals
from detector.alerts.grouping import WHOLE
from detector.domain import Protocol
from detector.store.tables import (
    alert_values,
    connection_counts,
    connection_keys,
    destination_names,
    evidence,
    login_origins,
    observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from detector.alerts.grouping import Place
    from detector.domain import SnapshotRef

# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_ALERTS_PER_QUERY = 1000
_LONGEST_VALUE = 256
MOST_VALUES = 100_000
"""About so many addresses and ports of an alert are told apart; of more it says so many."""
_FEW_VALUES = 100
EXPLANATIONS = 3
"""How many explanations an alert carries."""

_KEYS = connection_keys.c
_CONNECTING = (Protocol.TCP.value, Protocol.SCTP.value)
# A scan has few names but many addresses or many ports: made distinct together they would be many more.
_OF_KEYS: tuple[dict[str, ColumnElement[Any]], ...] = (
    {
        "direction": _KEYS.direction,
        "protocol": _KEYS.protocol,
        "manner": case((_KEYS.protocol.in_(_CONNECTING), "connect"), else_="flow"),
        "user": _KEYS.user,
        "login_user": _KEYS.login_user,
        "executable": _KEYS.executable,
        "script": _KEYS.script,
        "unaddressed": case((_KEYS.remote_address.is_(None), "1")),
    },
    {"address": _KEYS.remote_address},
    {"port": func.coalesce(_KEYS.remote_port, _KEYS.local_port)},
)
_OF_COUNTS: dict[str, ColumnElement[Any]] = {
    "login_address": login_origins.c.login_address,
    "remote_name": destination_names.c.remote_name,
}
# What is said of all rows must be known of all: of these, not to know is a value as well.
_KNOWN_OF_ALL = frozenset({"script", "login_address"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What a snapshot's new rows amount to, by alert; alerts without new rows are missing."""

    totals: Mapping[int, Totals] = field(default_factory=dict)
    explanations: Mapping[int, Sequence[tuple[float, str]]] = field(default_factory=dict)
    """Sentences of the most surprising rows after their surprise, the strangest first."""


def add(
    connection: Connection, snapshot: SnapshotRef, places: Mapping[int, set[Place]], opened: Collection[int]
) -> Added:
    """Stores the rows behind alerts that are not stored yet, and notes their values for `distinct`.

    Args:
        places: the rows, by alert.
        opened: those of the alerts that are new, and so have no rows.
    """
    rows: list[dict[str, int]] = []
    alert_ids: list[int] = []
    for alert_id, named in places.items():
        known = set() if alert_id in opened else _known(connection, snapshot, alert_id, named)
        if new := sorted(named - known):
            alert_ids.append(alert_id)
            rows += [
                {"alert_id": alert_id, "seq": seq, "key_id": key_id, "session": session, "found_seq": snapshot.seq}
                for seq, key_id, session in new
            ]
    if not rows:
        return Added()
    _insert_missing(connection, evidence, rows)
    first_seq = min(row["seq"] for row in rows)
    whole = any(row["key_id"] == WHOLE for row in rows)
    totals: dict[int, Totals] = {}
    explanations: dict[int, list[tuple[float, str]]] = {}
    for some in _batches(alert_ids):
        new_rows = _NewRows(snapshot, some, first_seq, whole)
        totals |= new_rows.totals(connection)
        explanations |= new_rows.explanations(connection)
        _insert_missing(connection, alert_values, _with_room(connection, new_rows.values(connection)))
    return Added(totals=totals, explanations=explanations)


def distinct(connection: Connection, alert_ids: Sequence[int]) -> dict[int, dict[str, Distinct]]:
    """How many addresses, ports, users … the rows of each alert name, by alert and field.

    Fields: direction, protocol, manner ("connect", "flow"), user, login_user, login_address, executable, script,
    address, unaddressed (there are rows without an address), remote_name, port. Of alerts about capture, executable
    alone: the programs whose destinations were not counted.
    """
    result: dict[int, dict[str, Distinct]] = defaultdict(dict)
    for alerts in _batches(alert_ids):
        rows = connection.execute(
            select(alert_values.c.alert_id, alert_values.c.field, func.count(), func.min(alert_values.c.value))
            .where(alert_values.c.alert_id.in_(alerts))
            .group_by(alert_values.c.alert_id, alert_values.c.field)
        )
        for alert_id, name, count, value in rows:
            result[alert_id][name] = Distinct(count, value if count == 1 and value else None)
    return result


@dataclass(frozen=True, slots=True)
class _NewRows:
    """Reads the rows that `snapshot` has added to some alerts, the oldest of them in the snapshot `first_seq`.

    `whole` says whether there are whole snapshots among them.
    """

    snapshot: SnapshotRef
    alert_ids: Sequence[int]
    first_seq: int
    whole: bool

    def totals(self, connection: Connection) -> dict[int, Totals]:
        """Their sums, by alert."""
        kinds = [each.name for each in fields(Totals) if each.name != "score"]
        rows = connection.execute(
            select(
                evidence.c.alert_id,
                *(func.sum(connection_counts.c[kind]).label(kind) for kind in kinds),
                func.max(observations.c.score).label("score"),
            )
            .select_from(
                evidence.join(connection_counts, self._same_row(connection_counts)).outerjoin(
                    observations, self._same_row(observations)
                )
            )
            .where(self._new)
            .group_by(evidence.c.alert_id)
        ).mappings()
        # Postgres adds BIGINTs up to a NUMERIC.
        return {row["alert_id"]: Totals(score=row["score"], **{kind: int(row[kind]) for kind in kinds}) for row in rows}

    def explanations(self, connection: Connection) -> dict[int, list[tuple[float, str]]]:
        """The sentences of the strangest of them, by alert."""
        surprise = func.max(observations.c.surprise)
        sentence = observations.c.explanation
        rank = func.row_number().over(partition_by=evidence.c.alert_id, order_by=[surprise.desc(), sentence])
        ranked = (
            select(evidence.c.alert_id, surprise.label("surprise"), sentence, rank.label("rank"))
            .select_from(evidence.join(observations, self._same_row(observations)))
            .where(self._new, observations.c.surprise.is_not(None), sentence.is_not(None))
            .group_by(evidence.c.alert_id, sentence)
            .subquery()
        )
        rows = connection.execute(
            select(ranked.c.alert_id, ranked.c.surprise, ranked.c.explanation)
            .where(ranked.c.rank <= EXPLANATIONS)
            .order_by(ranked.c.alert_id, ranked.c.rank)
        )
        result: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for alert_id, strangeness, text in rows:
            result[alert_id].append((strangeness, text))
        return result

    def values(self, connection: Connection) -> list[dict[str, Any]]:
        """Their addresses, ports and names, each once, as rows of `alert_values`."""
        statements = [
            *((tuple(columns), self._of_keys(columns)) for columns in _OF_KEYS),
            (tuple(_OF_COUNTS), self._of_counts()),
            *([(("executable",), self._of_snapshots())] if self.whole else []),
        ]
        found: set[tuple[int, str, str]] = set()
        for names, statement in statements:
            for alert_id, *values in connection.execute(statement.where(self._new).distinct()):
                found |= {
                    (alert_id, name, "" if value is None else _bounded(str(value)))
                    for name, value in zip(names, values, strict=True)
                    if value is not None or name in _KNOWN_OF_ALL
                }
        return [{"alert_id": alert_id, "field": name, "value": value} for alert_id, name, value in sorted(found)]

    # Each row has its key and its counts. Outer joins all the same: SQLite would begin with all keys and counts of the
    # host, and look for each of them in each of a thousand alerts.

    def _of_keys(self, columns: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
        return (
            select(evidence.c.alert_id, *columns.values())
            .select_from(
                evidence.outerjoin(
                    connection_keys, and_(_KEYS.host_id == self.snapshot.host_id, _KEYS.key_id == evidence.c.key_id)
                )
            )
            .where(evidence.c.key_id != WHOLE)
        )

    def _of_counts(self) -> Select[Any]:
        """What differs from one count of a key to another."""
        counts, origins, names = connection_counts.c, login_origins.c, destination_names.c
        return (
            select(evidence.c.alert_id, *_OF_COUNTS.values())
            .select_from(
                evidence.outerjoin(connection_counts, self._same_row(connection_counts))
                .outerjoin(
                    login_origins, and_(origins.host_id == counts.host_id, origins.origin_id == counts.origin_id)
                )
                .outerjoin(destination_names, and_(names.host_id == counts.host_id, names.name_id == counts.name_id))
            )
            .where(evidence.c.key_id != WHOLE)
        )

    def _of_snapshots(self) -> Select[Any]:
        """The programs of whole snapshots whose destinations were folded. AF_PACKET never has a destination."""
        counts = connection_counts.c
        return (
            select(evidence.c.alert_id, _KEYS.executable)
            .select_from(
                evidence.join(
                    snapshots,
                    and_(snapshots.c.host_id == self.snapshot.host_id, snapshots.c.seq == evidence.c.seq),
                )
                .join(connection_counts, and_(counts.host_id == snapshots.c.host_id, counts.seq == snapshots.c.seq))
                .join(connection_keys, and_(_KEYS.host_id == counts.host_id, _KEYS.key_id == counts.key_id))
            )
            .where(
                evidence.c.key_id == WHOLE,
                snapshots.c.lost_folded > 0,
                _KEYS.remote_address.is_(None),
                _KEYS.protocol != Protocol.PACKET.value,
            )
        )

    @property
    def _new(self) -> ColumnElement[bool]:
        return and_(
            evidence.c.alert_id.in_(self.alert_ids),
            evidence.c.seq >= self.first_seq,
            evidence.c.found_seq == self.snapshot.seq,
        )

    def _same_row(self, table: Table) -> ColumnElement[bool]:
        return and_(
            table.c.host_id == self.snapshot.host_id,
            table.c.seq == evidence.c.seq,
            table.c.key_id == evidence.c.key_id,
            table.c.session == evidence.c.session,
        )


def _bounded(value: str) -> str:
    # Postgres refuses index entries of more than 2,704 bytes, and whoever is watched chooses how long a path is.
    if len(value) <= _LONGEST_VALUE:
        return value
    return value[:_LONGEST_VALUE] + blake2b(value.encode(), digest_size=16).hexdigest()


def _known(connection: Connection, snapshot: SnapshotRef, alert_id: int, named: Collection[Place]) -> set[Place]:
    # The present snapshot's rows cannot be known yet: most findings name no others, and need no look.
    oldest = min((seq for seq, _, _ in named), default=snapshot.seq)
    if oldest >= snapshot.seq:
        return set()
    stored = connection.execute(
        select(evidence.c.seq, evidence.c.key_id, evidence.c.session).where(
            evidence.c.alert_id == alert_id, evidence.c.seq >= oldest
        )
    )
    return {(seq, key_id, session) for seq, key_id, session in stored}


def _with_room(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Less what is too much: a scan of many hours has millions of addresses, and nobody needs to know the exact number.

    What there are few of, such as users, is always noted.
    """
    numbers = Counter(row["alert_id"] for row in rows)
    full = set()
    for alert_id, number in numbers.items():
        if number > _FEW_VALUES:
            some = select(alert_values.c.value).where(alert_values.c.alert_id == alert_id).limit(MOST_VALUES).subquery()
            if (connection.scalar(select(func.count()).select_from(some)) or 0) >= MOST_VALUES:
                full.add(alert_id)
    return [row for row in rows if row["alert_id"] not in full or row["field"] not in {"address", "port"}]


def _insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        kind = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(kind.insert(table).on_conflict_do_nothing(), rows)


def _batches(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _ALERTS_PER_QUERY):
        yield values[start : start + _ALERTS_PER_QUERY]
