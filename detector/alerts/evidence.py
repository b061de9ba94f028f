"""The rows behind alerts: stored once each, added up in the database.

Totals advance by the rows that a snapshot adds, so that an incident of many hours costs no more than its last interval.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, func, select

from detector.alerts.facts import Distinct, Totals
from detector.alerts.grouping import WHOLE
from detector.domain import Protocol
from detector.store import bulk
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
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import FromClause

    from detector.alerts.grouping import Place
    from detector.domain import SnapshotRef

_LONGEST_VALUE = 256
MOST_VALUES = 100_000
"""About so many addresses and ports of an alert are told apart; of more it says so many."""
_FEW_VALUES = 100
_Value = tuple[int, str, str]
"""Alert, field and value: a row of `alert_values`."""
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
    distinct: Mapping[int, Mapping[str, Distinct]] = field(default_factory=dict)
    """What `distinct` says of alerts that had no rows before."""


def add(
    connection: Connection, snapshot: SnapshotRef, places: Mapping[int, set[Place]], opened: Collection[int]
) -> Added:
    """Stores the rows behind alerts that are not stored yet, and notes their values for `distinct`.

    Args:
        places: the rows, by alert.
        opened: those of the alerts that are new, and so have no rows.
    """
    rows: list[tuple[int, int, int, int]] = []
    for alert_id, named in places.items():
        known = set() if alert_id in opened else _known(connection, snapshot, alert_id, named)
        rows += [(alert_id, *place) for place in sorted(named - known)]
    if not rows:
        return Added()
    names = ("alert_id", "seq", "key_id", "session")
    stored = [(*row, snapshot.seq) for row in rows]
    bulk.add_any(connection, evidence, (*names, "found_seq"), stored, missing=True)
    new_rows = _NewRows(
        # Not as they stand in the table: Postgres would expect one of them, and compare each with each of the alerts.
        new=bulk.listed(connection, {name: evidence.c[name] for name in names}, rows),
        snapshot=snapshot,
        whole=any(key_id == WHOLE for _, _, key_id, _ in rows),
    )
    values = new_rows.values(connection)
    of_opened = [each for each in values if each[0] in opened]
    of_others = _with_room(connection, [each for each in values if each[0] not in opened])
    bulk.add_any(connection, alert_values, ("alert_id", "field", "value"), of_opened + of_others, missing=True)
    return Added(
        totals=new_rows.totals(connection),
        explanations=new_rows.explanations(connection),
        distinct=_distinct(of_opened),
    )


def distinct(connection: Connection, alert_ids: Sequence[int]) -> dict[int, dict[str, Distinct]]:
    """How many addresses, ports, users … the rows of each alert name, by alert and field.

    Fields: direction, protocol, manner ("connect", "flow"), user, login_user, login_address, executable, script,
    address, unaddressed (there are rows without an address), remote_name, port. Of alerts about capture, executable
    alone: the programs whose destinations were not counted.
    """
    result: dict[int, dict[str, Distinct]] = defaultdict(dict)
    if not alert_ids:
        return result
    rows = connection.execute(
        select(alert_values.c.alert_id, alert_values.c.field, func.count(), func.min(alert_values.c.value))
        .where(bulk.among(connection, alert_values.c.alert_id, alert_ids))
        .group_by(alert_values.c.alert_id, alert_values.c.field)
    )
    for alert_id, name, count, value in rows:
        result[alert_id][name] = Distinct(count, value if count == 1 and value else None)
    return result


@dataclass(frozen=True, slots=True)
class _NewRows:
    """Reads the rows that `snapshot` has added to alerts; `whole` says whether there are whole snapshots among them."""

    snapshot: SnapshotRef
    new: FromClause
    whole: bool

    def totals(self, connection: Connection) -> dict[int, Totals]:
        """Their sums, by alert."""
        kinds = [each.name for each in fields(Totals) if each.name != "score"]
        rows = connection.execute(
            select(
                self.new.c.alert_id,
                *(func.sum(connection_counts.c[kind]).label(kind) for kind in kinds),
                func.max(observations.c.score).label("score"),
            )
            .select_from(
                self.new.outerjoin(connection_counts, self._same_row(connection_counts)).outerjoin(
                    observations, self._same_row(observations)
                )
            )
            .where(self.new.c.key_id != WHOLE, connection_counts.c.attempted.is_not(None))
            .group_by(self.new.c.alert_id)
        ).mappings()
        # Postgres adds BIGINTs up to a NUMERIC.
        return {row["alert_id"]: Totals(score=row["score"], **{kind: int(row[kind]) for kind in kinds}) for row in rows}

    def explanations(self, connection: Connection) -> dict[int, list[tuple[float, str]]]:
        """The sentences of the strangest of them, by alert."""
        surprise = func.max(observations.c.surprise)
        sentence = observations.c.explanation
        rank = func.row_number().over(partition_by=self.new.c.alert_id, order_by=[surprise.desc(), sentence])
        ranked = (
            select(self.new.c.alert_id, surprise.label("surprise"), sentence, rank.label("rank"))
            .select_from(self.new.outerjoin(observations, self._same_row(observations)))
            .where(observations.c.surprise.is_not(None), sentence.is_not(None))
            .group_by(self.new.c.alert_id, sentence)
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

    def values(self, connection: Connection) -> list[_Value]:
        """Their addresses, ports and names, each once, as rows of `alert_values`."""
        statements = [
            *((tuple(columns), self._of_keys(columns)) for columns in _OF_KEYS),
            (tuple(_OF_COUNTS), self._of_counts()),
            *([(("executable",), self._of_snapshots())] if self.whole else []),
        ]
        found: set[tuple[int, str, str]] = set()
        for names, statement in statements:
            for alert_id, *values in connection.execute(statement.distinct()):
                found |= {
                    (alert_id, name, "" if value is None else _bounded(str(value)))
                    for name, value in zip(names, values, strict=True)
                    if value is not None or name in _KNOWN_OF_ALL
                }
        return sorted(found)

    # Each row has its key and its counts. Outer joins all the same: SQLite would begin with all keys and counts of the
    # host, and look for each of them in each of a thousand alerts.

    def _of_keys(self, columns: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
        return (
            select(self.new.c.alert_id, *columns.values())
            .select_from(
                self.new.outerjoin(
                    connection_keys, and_(_KEYS.host_id == self.snapshot.host_id, _KEYS.key_id == self.new.c.key_id)
                )
            )
            .where(self.new.c.key_id != WHOLE)
        )

    def _of_counts(self) -> Select[Any]:
        """What differs from one count of a key to another."""
        counts, origins, names = connection_counts.c, login_origins.c, destination_names.c
        return (
            select(self.new.c.alert_id, *_OF_COUNTS.values())
            .select_from(
                self.new.outerjoin(connection_counts, self._same_row(connection_counts))
                .outerjoin(
                    login_origins, and_(origins.host_id == counts.host_id, origins.origin_id == counts.origin_id)
                )
                .outerjoin(destination_names, and_(names.host_id == counts.host_id, names.name_id == counts.name_id))
            )
            .where(self.new.c.key_id != WHOLE)
        )

    def _of_snapshots(self) -> Select[Any]:
        """The programs of whole snapshots whose destinations were folded. AF_PACKET never has a destination."""
        counts = connection_counts.c
        return (
            select(self.new.c.alert_id, _KEYS.executable)
            .select_from(
                self.new.join(
                    snapshots,
                    and_(snapshots.c.host_id == self.snapshot.host_id, snapshots.c.seq == self.new.c.seq),
                )
                .join(connection_counts, and_(counts.host_id == snapshots.c.host_id, counts.seq == snapshots.c.seq))
                .join(connection_keys, and_(_KEYS.host_id == counts.host_id, _KEYS.key_id == counts.key_id))
            )
            .where(
                self.new.c.key_id == WHOLE,
                snapshots.c.lost_folded > 0,
                _KEYS.remote_address.is_(None),
                _KEYS.protocol != Protocol.PACKET.value,
            )
        )

    def _same_row(self, table: Table) -> ColumnElement[bool]:
        return and_(
            table.c.host_id == self.snapshot.host_id,
            table.c.seq == self.new.c.seq,
            table.c.key_id == self.new.c.key_id,
            table.c.session == self.new.c.session,
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


def _distinct(values: Iterable[_Value]) -> dict[int, dict[str, Distinct]]:
    """What `distinct` says of alerts that have these values alone."""
    found: dict[int, dict[str, Distinct]] = defaultdict(dict)
    for alert_id, name, value in values:
        of_alert = found[alert_id]
        known = of_alert.get(name)
        of_alert[name] = Distinct(1, value or None) if known is None else Distinct(known.count + 1)
    return found


def _with_room(connection: Connection, values: Sequence[_Value]) -> list[_Value]:
    """Less what is too much: a scan of many hours has millions of addresses, and nobody needs to know the exact number.

    What there are few of, such as users, is always noted.
    """
    full = set()
    for alert_id, number in Counter(alert_id for alert_id, _, _ in values).items():
        if number > _FEW_VALUES:
            some = select(alert_values.c.value).where(alert_values.c.alert_id == alert_id).limit(MOST_VALUES).subquery()
            if (connection.scalar(select(func.count()).select_from(some)) or 0) >= MOST_VALUES:
                full.add(alert_id)
    return [each for each in values if each[0] not in full or each[1] not in {"address", "port"}]
