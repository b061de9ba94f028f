"""Times as numbers, for arithmetic over very many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import BigInteger, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from detector.store import bulk
from detector.store.tables import snapshots

if TYPE_CHECKING:
    import numpy.typing as npt
    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.sql.compiler import SQLCompiler

    from detector.store.extent import Span

    Numbers = npt.NDArray[np.int64]

# With more of a span's snapshots, all of it is read.
_SPARSE = 8


class microseconds(GenericFunction[int]):  # noqa: N801 - named as in SQL
    """Since 1970, of a `UtcDateTime`."""

    type = BigInteger()
    inherit_cache = True


@compiles(microseconds, "sqlite")
def _stored_so(function: microseconds, compiler: SQLCompiler, **how: Any) -> str:
    return compiler.process(function.clauses, **how)


@compiles(microseconds, "postgresql")
def _of_timestamp(function: microseconds, compiler: SQLCompiler, **how: Any) -> str:
    return f"CAST(EXTRACT(EPOCH FROM {compiler.process(function.clauses, **how)}) * 1000000 AS BIGINT)"


def taken(
    connection: Connection, host_id: int, span: Span, among: Numbers | None = None
) -> tuple[Numbers, Numbers, Numbers]:
    """Which snapshots of a span a host has, in order, and when each began and ended, in microseconds since 1970.

    Args:
        connection: the transaction.
        host_id: whose.
        span: the first and the last number.
        among: the numbers that are wanted, in order; None: all of the span.
    """
    columns, (first, last) = snapshots.c, span
    some: ColumnElement[bool] = columns.seq.between(first, last)
    if among is not None and len(among) * _SPARSE < last - first:
        some = bulk.among(connection, columns.seq, among.tolist())
    asked = select(columns.seq, microseconds(columns.start), microseconds(columns.end))
    found = connection.execute(asked.where(columns.host_id == host_id, some).order_by(columns.seq)).all()
    seqs, starts, ends = np.array([tuple(row) for row in found], dtype=np.int64).reshape(-1, 3).T
    if among is None:
        return seqs, starts, ends
    wanted = np.isin(seqs, among)
    return seqs[wanted], starts[wanted], ends[wanted]
