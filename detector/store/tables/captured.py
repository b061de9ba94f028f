"""What collectors and imports write: snapshots, and what these have in common."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from detector.domain import Direction
from detector.store.columns import Address, UtcDateTime
from detector.store.tables.schema import metadata, text_enum

hosts = Table(
    "hosts",
    metadata,
    Column("host_id", Integer, primary_key=True),
    Column("host", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    # How often keys, origins or names were deleted that had expired: a collector that remembers numbers looks them up
    # again.
    Column("expiries", BigInteger, nullable=False, server_default="0"),
    # How many snapshots had to go, for the size of the database, before detection had seen them. The next one says what
    # was in them (`lost_snapshots`).
    Column("given_up", BigInteger, nullable=False, server_default="0"),
    # Up to here snapshots were deleted because they had expired; from there on all have to be there.
    Column("expired_seq", BigInteger, nullable=False, server_default="0"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # Written by the host's one collector: 1, 2, 3 … in the order of commits, so that a cursor over it skips nothing.
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("end", UtcDateTime, primary_key=True),
    Column("start", UtcDateTime, nullable=False),
    Column("lost_attempted", BigInteger, nullable=False, default=0),
    Column("lost_established", BigInteger, nullable=False, default=0),
    Column("lost_refused", BigInteger, nullable=False, default=0),
    Column("lost_timed_out", BigInteger, nullable=False, default=0),
    Column("lost_failed", BigInteger, nullable=False, default=0),
    Column("lost_inbound", BigInteger, nullable=False, default=0),
    Column("lost_pending_full", BigInteger, nullable=False, default=0),
    Column("lost_unmatched", BigInteger, nullable=False, default=0),
    Column("lost_unnamed", BigInteger, nullable=False, default=0),
    Column("lost_unread", BigInteger, nullable=False, default=0),
    Column("lost_missed", BigInteger, nullable=False, default=0),
    Column("lost_folded", BigInteger, nullable=False, server_default="0"),
    Column("lost_unnumbered", BigInteger, nullable=False, server_default="0"),
    Column("lost_names", BigInteger, nullable=False, server_default="0"),
    # Whole snapshots that were given up between the one before and this one.
    Column("lost_snapshots", BigInteger, nullable=False, server_default="0"),
    Column("self_test_passed", Boolean),
    Column("blind_since", UtcDateTime),
    Column("late_seconds", Double, nullable=False, server_default="0"),
    Column("clock_step_seconds", Double, nullable=False, server_default="0"),
    Column("suspended_seconds", Double, nullable=False, server_default="0"),
    # Nobody watched for so long before it: from the end of the host's snapshot that was stored before.
    Column("gap_seconds", Double, nullable=False, server_default="0"),
    # What this kernel does not show, joined by "; ".
    Column("unseen", Text, nullable=False, server_default=""),
    # How long it waited for the database.
    Column("waited_seconds", Double, nullable=False, server_default="0"),
    # Of a host's first snapshot in a database that took the place of a damaged one: where that is (see `replacements`).
    Column("set_aside", Text),
    # The collector ended in order with it.
    Column("stopped", Boolean, nullable=False, server_default=false()),
    # By which the collector knows that it is stored already; NULL: it came from elsewhere.
    Column("mark", LargeBinary(16)),
    # See detector.store.chain; NULL: it was written before there was one.
    Column("chain_hash", LargeBinary(32)),
    Index(None, "host_id", "end"),
    Index(None, "host_id", "mark"),
    sqlite_with_rowid=False,
)

# The counts of a snapshot, and what detection says of them, in columns that are packed together: see
# detector.store.packing and packing_observations. On SQLite with row numbers: a table without them has no room for rows
# of this length.
packed_counts = Table(
    "packed_counts",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("end", UtcDateTime, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

packed_observations = Table(
    "packed_observations",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("end", UtcDateTime, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

# That this database took the place of a damaged one, which was set aside.
replacements = Table(
    "replacements",
    metadata,
    Column("replaced_at", UtcDateTime, primary_key=True, autoincrement=False),
    # Where the damaged one is.
    Column("set_aside", Text, nullable=False),
    # In what words SQLite complained.
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

connection_keys = Table(
    "connection_keys",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # Numbered per host by its one collector, from 1.
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    # BLAKE2b-128 over all fields of the key: one value to look up, and NULLs compare equal.
    Column("digest", LargeBinary(16), nullable=False),
    Column("direction", text_enum(Direction), nullable=False),
    Column("protocol", String(8), nullable=False),
    Column("executable", Text),
    Column("script", Text),
    Column("parent_executable", Text),
    Column("command", Text),
    Column("user", Text),
    Column("login_user", Text),
    Column("unit", Text),
    Column("container", Text),
    # NULL: the kernel did not show it, or it was counted only by its process.
    Column("remote_address", Address),
    Column("remote_port", Integer),
    Column("local_port", Integer),
    Column("first_seen", UtcDateTime, nullable=False),
    # Up to what is rolled up: what came later is in the snapshots alone.
    Column("last_seen", UtcDateTime, nullable=False),
    UniqueConstraint("host_id", "digest"),
    Index(None, "host_id", "remote_address"),
    Index(None, "host_id", "first_seen"),
    sqlite_with_rowid=False,
)

# What a key's counts may differ in from one snapshot to the next is not part of the key, and stands once each.

login_origins = Table(
    "login_origins",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # Numbered and found again like keys, as are the names below.
    Column("origin_id", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("login_address", Address),
    Column("login_source", Text),
    UniqueConstraint("host_id", "digest"),
    sqlite_with_rowid=False,
)

destination_names = Table(
    "destination_names",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("name_id", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("remote_name", Text),
    Column("remote_name_source", Text),
    Column("remote_country", Text),
    Column("remote_network", Text),
    UniqueConstraint("host_id", "digest"),
    sqlite_with_rowid=False,
)

# Logs that were imported, or are being: one row for each host and source.
imports = Table(
    "imports",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # BLAKE2b-128 of the content, unpacked: the same log under another name is the same.
    Column("source", LargeBinary(16), primary_key=True),
    Column("format", String(16), nullable=False),
    # The files as they were named, and how they were read: what is half imported goes on in the same way only.
    Column("name", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    # NULL: it was interrupted, or is under way.
    Column("finished_at", UtcDateTime),
    # How far it came: advanced in the transaction that stores the snapshots.
    Column("snapshots", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("stored_from", UtcDateTime, nullable=False),
    Column("stored_until", UtcDateTime, nullable=False),
    # Of all of the source; known when it is finished.
    Column("refused", BigInteger),
    Column("left_out", BigInteger),
    Index(None, "source"),
    sqlite_with_rowid=False,
)
