"""What rules have to know of the past, advanced by each snapshot."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Table

from detector.store.tables.schema import metadata

# On which days combinations of values were there. Days are counted from 1970, and are those of UTC.
seen_terms = Table(
    "seen_terms",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    # BLAKE2b-128 over the names of the fields, and over their values.
    Column("fields", LargeBinary(16), primary_key=True),
    Column("terms", LargeBinary(16), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    # The first snapshot of the day with it; 0: it was before there was a rule that asks for it.
    Column("first_seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# How far back that is known of some fields, and the last snapshot that was noted there.
noted_fields = Table(
    "noted_fields",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("fields", LargeBinary(16), primary_key=True),
    Column("since", Integer, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What the groups of rules with a baseline did in each hour. Hours are counted from 1970.
usual_counts = Table(
    "usual_counts",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    # BLAKE2b-128 over what the rule counts and the group.
    Column("subject", LargeBinary(16), primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("total", BigInteger, nullable=False),
    # The last snapshot that is in it, and what it was before: that one may be looked at again.
    Column("seq", BigInteger, nullable=False),
    Column("before", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
