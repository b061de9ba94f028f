"""What snapshots add up to, by hour and by day."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, Table

from detector.store.columns import UtcDateTime
from detector.store.tables.schema import OUTCOMES, metadata


def _rolled_up(name: str) -> Table:
    """What a key did in each period that it was seen in, by where the login came from and what its address was called.

    The destination is part of the key, so that distinct ones can be counted exactly over any time.
    """
    return Table(
        name,
        metadata,
        Column("host_id", Integer, primary_key=True, autoincrement=False),
        Column("key_id", BigInteger, primary_key=True, autoincrement=False),
        Column("start", UtcDateTime, primary_key=True),
        # 0: unknown, since a key may not be NULL.
        Column("origin_id", BigInteger, primary_key=True, autoincrement=False),
        Column("name_id", BigInteger, primary_key=True, autoincrement=False),
        Column("snapshots", Integer, nullable=False),
        *(Column(outcome, BigInteger, nullable=False) for outcome in OUTCOMES),
        Column("handshake_us_total", BigInteger, nullable=False),
        Column("handshake_us_max", BigInteger, nullable=False),
        Column("first_seen", UtcDateTime, nullable=False),
        Column("last_seen", UtcDateTime, nullable=False),
        # NULL: there was no score.
        Column("peak_score", Double),
        sqlite_with_rowid=False,
    )


hourly_counts = _rolled_up("hourly_counts")
daily_counts = _rolled_up("daily_counts")
