"""The rows behind alerts: stored once each, added up in the database.

Totals advance by the rows that a snapshot adds, so that an incident of many hours costs no more than its last interval.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, func, select

from detector.alerts.facts import Totals
from detector.alerts.grouping import WHOLE
from detector.alerts.values import Found
from detector.domain import Protocol
from detector.store import bulk
from detector.store.tables import (
    connection_counts,
    connection_keys,
    destination_names,
    evidence,
    login_origins,
    observations,
    snapshots,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import FromClause

    from detector.alerts.grouping import Place
    from detector.domain import SnapshotRef

_NAMES = ("alert_id", "seq", "key_id", "session")
_FEW_ROWS = 4
EXPLANATIONS = 3
"""How many explanations an alert carries."""
# Of those of one snapshot so many are looked at: some say the same with other figures.
_LOOKED_AT = 4 * EXPLANATIONS

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What a snapshot's new rows amount to, by alert; alerts without new rows are missing."""

    rows: Sequence[tuple[int, int, int, int]] = ()
    """Alert, seq, key_id, session."""
    found: Found = field(default_factory=Found)
    totals: Mapping[int, Totals] = field(default_factory=dict)
    explanations: Mapping[int, Sequence[tuple[float, str]]] = field(default_factory=dict)
    """Sentences of the most surprising rows after their surprise, the strangest first."""


def read(
    connection: Connection, snapshot: SnapshotRef, places: Mapping[int, set[Place]], opened: Collection[int]
) -> Added:
    """What the rows behind alerts that are not stored yet amount to.

    Args:
        places: the rows, by alert.
        opened: those of the alerts that are new, and so have no rows.
    """
    rows: list[tuple[int, int, int, int]] = []
    for alert_id, named in places.items():
        there = set() if alert_id in opened else known(connection, snapshot, alert_id, named)
        rows += [(alert_id, *place) for place in sorted(named - there)]
    if not rows:
        return Added()
    new_rows = _NewRows(
        # Not as they stand in the table: Postgres would expect one of them, and compare each with each of the alerts.
        new=bulk.listed(connection, {name: evidence.c[name] for name in _NAMES}, rows),
        snapshot=snapshot,
        whole=any(key_id == WHOLE for _, _, key_id, _ in rows),
        many=len(rows) > _FEW_ROWS * len(places),
    )
    return Added(
        rows=rows,
        found=new_rows.values(connection),
        totals=new_rows.totals(connection),
        explanations=new_rows.explanations(connection),
    )


def write(connection: Connection, snapshot: SnapshotRef, added: Added) -> None:
    """Stores the rows, each once."""
    rows = [(*row, snapshot.seq) for row in added.rows]
    bulk.add_any(connection, evidence, (*_NAMES, "found_seq"), rows, missing=True)


def known(connection: Connection, snapshot: SnapshotRef, alert_id: int, named: Collection[Place]) -> set[Place]:
    """Those of some rows that are behind an alert already, and maybe more."""
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


@dataclass(frozen=True, slots=True)
class _NewRows:
    """Reads the rows that `snapshot` has added to alerts."""

    snapshot: SnapshotRef
    new: FromClause
    whole: bool
    """Whether there are whole snapshots among them."""
    many: bool
    """Whether an alert has many of them."""

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
        ).all()
        # Postgres adds BIGINTs up to a NUMERIC.
        return {row[0]: Totals(**dict(zip(kinds, map(int, row[1:-1]), strict=True)), score=row[-1]) for row in rows}

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
            .where(ranked.c.rank <= _LOOKED_AT)
            .order_by(ranked.c.alert_id, ranked.c.rank)
        )
        result: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for alert_id, strangeness, text in rows.all():
            result[alert_id].append((strangeness, text))
        return result

    def values(self, connection: Connection) -> Found:
        """Their addresses, ports and names."""
        of_keys = _OF_KEYS if self.many else [{name: value for columns in _OF_KEYS for name, value in columns.items()}]
        statements = [
            *((tuple(columns), self._of_keys(columns)) for columns in of_keys),
            (tuple(_OF_COUNTS), self._of_counts()),
            *([(("executable",), self._of_snapshots())] if self.whole else []),
        ]
        found = Found()
        for names, statement in statements:
            found.add(names, connection.execute(statement.distinct()).all())
        return found

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
