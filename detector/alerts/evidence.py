"""The rows behind alerts: stored once each, added up in the database.

Totals advance by the rows that a snapshot adds, so that an incident of many hours costs no more than its last interval.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, Table, and_, case, func, select, type_coerce

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
    # As it is stored: ten thousand objects take as long as their rows.
    {"address": type_coerce(_KEYS.remote_address, LargeBinary)},
    {"port": func.coalesce(_KEYS.remote_port, _KEYS.local_port)},
)
_OF_COUNTS: dict[str, ColumnElement[Any]] = {
    "login_address": login_origins.c.login_address,
    "remote_name": destination_names.c.remote_name,
}
_SUMS = ("attempted", "established", "refused", "timed_out", "failed")


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
    connection: Connection,
    snapshot: SnapshotRef,
    places: Mapping[int, set[Place]],
    opened: Collection[int],
    *,
    fresh: bool = False,
) -> Added:
    """What the rows behind alerts that are not stored yet amount to.

    Args:
        places: the rows, by alert.
        opened: those of the alerts that are new, and so have no rows.
        fresh: nothing of this snapshot has been stored yet.
    """
    there = known(
        connection, snapshot, {each: named for each, named in places.items() if each not in opened}, fresh=fresh
    )
    rows = [
        (alert_id, *place)
        for alert_id, named in places.items()
        for place in sorted(named - there[alert_id] if alert_id in there else named)
    ]
    if not rows:
        return Added()
    new_rows = _NewRows(
        # Not as they stand in the table: Postgres would expect one of them, and compare each with each of the alerts.
        new=bulk.listed(connection, {name: evidence.c[name] for name in _NAMES}, rows),
        snapshot=snapshot,
        whole=any(key_id == WHOLE for _, _, key_id, _ in rows),
        many=len(rows) > _FEW_ROWS * len(places),
    )
    found, totals = new_rows.amount(connection)
    return Added(rows=rows, found=found, totals=totals, explanations=new_rows.explanations(connection))


def write(connection: Connection, snapshot: SnapshotRef, added: Added) -> None:
    """Stores the rows."""
    bulk.add(connection, evidence, (*_NAMES, "found_seq"), [(*row, snapshot.seq) for row in added.rows])


def known(
    connection: Connection, snapshot: SnapshotRef, places: Mapping[int, Collection[Place]], *, fresh: bool = False
) -> Mapping[int, set[Place]]:
    """By alert those of some rows that are behind it already, and maybe more; alerts without any may be missing.

    Args:
        places: the rows, by alert.
        fresh: nothing of this snapshot has been stored yet. Most findings name no other rows, and need no look.
    """
    oldest = {alert_id: min(seq for seq, _, _ in named) for alert_id, named in places.items() if named}
    asked = [alert_id for alert_id, seq in oldest.items() if seq < snapshot.seq or not fresh]
    if not asked:
        return {}
    found: dict[int, set[Place]] = defaultdict(set)
    stored = connection.execute(
        select(evidence.c.alert_id, evidence.c.seq, evidence.c.key_id, evidence.c.session).where(
            bulk.among(connection, evidence.c.alert_id, asked), evidence.c.seq >= min(map(oldest.__getitem__, asked))
        )
    )
    for alert_id, *place in stored:
        found[alert_id].add((place[0], place[1], place[2]))
    return found


@dataclass(frozen=True, slots=True)
class _NewRows:
    """Reads the rows that `snapshot` has added to alerts."""

    snapshot: SnapshotRef
    new: FromClause
    whole: bool
    """Whether there are whole snapshots among them."""
    many: bool
    """Whether an alert has many of them."""

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

    def amount(self, connection: Connection) -> tuple[Found, dict[int, Totals]]:
        """Their addresses, ports and names, and their sums, by alert."""
        found, totals = Found(), dict[int, Totals]()
        # Of few rows each, all is read at once.
        apart = _OF_KEYS if self.many else ()
        for columns in apart:
            found.add(tuple(columns), connection.execute(self._of_keys(columns).distinct()).all())
        if self.whole:
            found.add(("executable",), connection.execute(self._of_snapshots().distinct()).all())
        said = dict(chain.from_iterable(each.items() for each in (*(() if self.many else _OF_KEYS), _OF_COUNTS)))
        rows = connection.execute(self._of_counts(said)).all()
        found.add(tuple(said), [row[: 1 + len(said)] for row in rows])
        for alert_id, *_, score, attempted, established, refused, timed_out, failed in rows:
            if attempted is None:
                # A row that has expired.
                continue
            # Postgres adds BIGINTs up to a NUMERIC.
            sums = Totals(
                attempted=int(attempted),
                established=int(established),
                refused=int(refused),
                timed_out=int(timed_out),
                failed=int(failed),
                score=score,
            )
            # Mostly what alerts count has one origin.
            totals[alert_id] = totals[alert_id] + sums if alert_id in totals else sums
        return found, totals

    # Each row has its key and its counts. Outer joins all the same: SQLite would begin with all keys and counts of the
    # host, and look for each of them in each of a thousand alerts.

    def _of_keys(self, columns: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
        return (
            select(self.new.c.alert_id, *columns.values())
            .select_from(self.new.outerjoin(connection_keys, self._same_key()))
            .where(self.new.c.key_id != WHOLE)
        )

    def _of_counts(self, columns: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
        """What counts say, and their keys, with the highest score and the sums of those that say the same."""
        counts, origins, names = connection_counts.c, login_origins.c, destination_names.c
        said = self.new.c.alert_id, *columns.values()
        joined = (
            self.new.outerjoin(connection_counts, self._same_row(connection_counts))
            .outerjoin(login_origins, and_(origins.host_id == counts.host_id, origins.origin_id == counts.origin_id))
            .outerjoin(destination_names, and_(names.host_id == counts.host_id, names.name_id == counts.name_id))
            .outerjoin(observations, self._same_row(observations))
        )
        if not self.many:
            joined = joined.outerjoin(connection_keys, self._same_key())
        return (
            select(*said, func.max(observations.c.score), *(func.sum(counts[kind]) for kind in _SUMS))
            .select_from(joined)
            .where(self.new.c.key_id != WHOLE)
            .group_by(*said)
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

    def _same_key(self) -> ColumnElement[bool]:
        return and_(_KEYS.host_id == self.snapshot.host_id, _KEYS.key_id == self.new.c.key_id)

    def _same_row(self, table: Table) -> ColumnElement[bool]:
        return and_(
            table.c.host_id == self.snapshot.host_id,
            table.c.seq == self.new.c.seq,
            table.c.key_id == self.new.c.key_id,
            table.c.session == self.new.c.session,
        )
