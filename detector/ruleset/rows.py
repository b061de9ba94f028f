"""The rows that rules look at: stored counts with their keys and observations, of one snapshot or of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Integer, and_, bindparam, select
from sqlalchemy.sql import visitors

from detector.store.columns import UtcDateTime
from detector.store.tables import connection_counts, connection_keys, hosts, observations, snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, FromClause, Select

HOST_ID = bindparam("host_id", type_=Integer)
SEQ = bindparam("seq", type_=BigInteger)
FIRST_SEQ = bindparam("first_seq", type_=BigInteger)
AFTER = bindparam("after", type_=UtcDateTime)
UNTIL = bindparam("until", type_=UtcDateTime)

# Postgres would replace a bare column by the parameter that it equals. Before it has statistics (of new tables, in
# their first minute) it then goes through all keys of the host for each count, in place of looking one up.
_HOST_ID = connection_counts.c.host_id + 0
_KEYS = and_(connection_keys.c.host_id == _HOST_ID, connection_keys.c.key_id == connection_counts.c.key_id)
_OBSERVATIONS = and_(
    observations.c.host_id == _HOST_ID,
    observations.c.seq == connection_counts.c.seq,
    observations.c.key_id == connection_counts.c.key_id,
    observations.c.session == connection_counts.c.session,
)
_HOSTS = hosts.c.host_id == _HOST_ID
_SNAPSHOTS = and_(snapshots.c.host_id == _HOST_ID, snapshots.c.seq == connection_counts.c.seq)

IN_SNAPSHOT = and_(connection_counts.c.host_id == HOST_ID, connection_counts.c.seq == SEQ)

# A row without an observation is one that the models know nothing of, as while the host is being learnt.
_OTHERS = ((observations, _OBSERVATIONS, True), (hosts, _HOSTS, False), (snapshots, _SNAPSHOTS, False))

# The range of numbers is what keeps a statement to the window's part of the primary key; the times are what counts,
# should the host's clock have been set back.
IN_WINDOW = and_(
    connection_counts.c.host_id == HOST_ID,
    connection_counts.c.seq.between(FIRST_SEQ, SEQ),
    snapshots.c.end > AFTER,
    snapshots.c.end <= UNTIL,
)
ROW_ORDER = (connection_counts.c.seq, connection_counts.c.key_id, connection_counts.c.session)


def select_rows(
    columns: Sequence[ColumnElement[Any]], *conditions: ColumnElement[bool], reads: ColumnElement[Any] | None = None
) -> Select[Any]:
    """Selects `columns` of the counts that meet all conditions, with their keys.

    Other tables are joined if `columns`, `conditions` or what else the statement `reads` name them: in statements that
    aggregate, SQLite would look up for every row even what is not used.
    """
    read = {
        element.table
        for expression in (*columns, *conditions, *(() if reads is None else (reads,)))
        for element in visitors.iterate(expression)
        if isinstance(element, Column)
    }
    rows: FromClause = connection_counts.join(connection_keys, _KEYS)
    for table, condition, outer in _OTHERS:
        if table in read:
            rows = rows.join(table, condition, isouter=outer)
    return select(*columns).select_from(rows).where(*conditions)
