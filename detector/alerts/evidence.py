"""The rows behind alerts: stored once each, added up in the database.

Totals advance by the rows that a snapshot adds, so that an incident of many hours costs no more than its last interval.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from detector.alerts.facts import Distinct, Totals
from detector.store.tables import alert_values, connection_counts, connection_keys, evidence, observations

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from detector.alerts.grouping import Place
    from detector.domain import SnapshotRef

# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_ALERTS_PER_QUERY = 1000
_LONGEST_VALUE = 256
EXPLANATIONS = 3
"""How many explanations an alert carries."""


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
    totals: dict[int, Totals] = {}
    explanations: dict[int, list[tuple[float, str]]] = {}
    for some in _batches(alert_ids):
        new_rows = _NewRows(snapshot, some, first_seq)
        totals |= new_rows.totals(connection)
        explanations |= new_rows.explanations(connection)
        _insert_missing(connection, alert_values, new_rows.values(connection))
    return Added(totals=totals, explanations=explanations)


def distinct(connection: Connection, alert_ids: Sequence[int]) -> dict[int, dict[str, Distinct]]:
    """How many addresses, ports, users … the rows of each alert name, by alert and field."""
    result: dict[int, dict[str, Distinct]] = defaultdict(dict)
    for alerts in _batches(alert_ids):
        rows = connection.execute(
            select(alert_values.c.alert_id, alert_values.c.field, func.count(), func.min(alert_values.c.value))
            .where(alert_values.c.alert_id.in_(alerts))
            .group_by(alert_values.c.alert_id, alert_values.c.field)
        )
        for alert_id, name, count, value in rows:
            result[alert_id][name] = Distinct(count, value if count == 1 else None)
    return result


@dataclass(frozen=True, slots=True)
class _NewRows:
    """Reads the rows that `snapshot` has added to some alerts, the oldest of them in the snapshot `first_seq`."""

    snapshot: SnapshotRef
    alert_ids: Sequence[int]
    first_seq: int

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
        keys = connection_keys.c
        # A scan has few names but many addresses or many ports: made distinct together they would be many more.
        apart: list[dict[str, ColumnElement[Any]]] = [
            {
                "direction": keys.direction,
                "user": keys.user,
                "login_user": keys.login_user,
                "executable": keys.executable,
            },
            {"address": keys.remote_address},
            {"port": func.coalesce(keys.remote_port, keys.local_port)},
        ]
        found: set[tuple[int, str, str]] = set()
        for columns in apart:
            rows = connection.execute(
                select(evidence.c.alert_id, *(column.label(name) for name, column in columns.items()))
                .select_from(
                    evidence.join(
                        connection_keys, and_(keys.host_id == self.snapshot.host_id, keys.key_id == evidence.c.key_id)
                    )
                )
                .where(self._new)
                .distinct()
            )
            for alert_id, *values in rows:
                found |= {
                    (alert_id, name, _bounded(str(value)))
                    for name, value in zip(columns, values, strict=True)
                    if value is not None
                }
        return [{"alert_id": alert_id, "field": name, "value": value} for alert_id, name, value in sorted(found)]

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


def _insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        kind = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(kind.insert(table).on_conflict_do_nothing(), rows)


def _batches(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _ALERTS_PER_QUERY):
        yield values[start : start + _ALERTS_PER_QUERY]
