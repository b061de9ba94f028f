"""How far detection has come, and the rows that rules look at."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Integer, LargeBinary, String, Table, Text

from detector.domain import CHANNELS
from detector.store.chain import BreakKind
from detector.store.columns import UtcDateTime
from detector.store.tables.schema import OUTCOMES, metadata, text_enum

detection_cursors = Table(
    "detection_cursors",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # The last snapshot whose findings are committed.
    Column("seq", BigInteger, nullable=False),
    # That of this snapshot as it was seen (see detector.store.chain); NULL: it had none.
    Column("chain_hash", LargeBinary(32)),
    # The first one from which on all rows are in `connection_counts` and `observations`.
    Column("recent_seq", BigInteger, nullable=False, server_default="1"),
    # The last one that `hourly_counts` and `daily_counts` have.
    Column("rolled_seq", BigInteger, nullable=False, server_default="0"),
)

# That nothing came of a host after its snapshot: written once, however many workers notice, and however often.
silences = Table(
    "silences",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("noticed_at", UtcDateTime, nullable=False),
    # Since when nothing had come, by the clock of whoever noticed.
    Column("silent_seconds", Double, nullable=False),
    sqlite_with_rowid=False,
)

# That rule files are refused: told with a snapshot of one host, once while it lasts.
rule_faults = Table(
    "rule_faults",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("noticed_at", UtcDateTime, nullable=False),
    Column("files", Integer, nullable=False),
    # The first fault, as `detector rules check` says it.
    Column("fault", Text, nullable=False),
    # NULL: it lasts.
    Column("ended_at", UtcDateTime),
    sqlite_with_rowid=False,
)

# Where a host's stored snapshots were found not to be those that were written: each once.
chain_breaks = Table(
    "chain_breaks",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", text_enum(BreakKind), primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("noticed_at", UtcDateTime, nullable=False),
    # It was shown to the rules.
    Column("told", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

# That such were found: shown to the rules with a snapshot of the host.
tamperings = Table(
    "tamperings",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("noticed_at", UtcDateTime, nullable=False),
    # How many there are, and what the first is.
    Column("breaks", Integer, nullable=False),
    Column("first_break", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What rules have found on hosts of which nobody is to be told yet: one row for each incident.
held_findings = Table(
    "held_findings",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("rule_id", Text, primary_key=True),
    Column("fingerprint", String(32), primary_key=True),
    Column("group", JSON, nullable=False),
    Column("findings", BigInteger, nullable=False),
    Column("start", UtcDateTime, nullable=False),
    Column("end", UtcDateTime, nullable=False),
    # The last snapshot whose finding is among them.
    Column("seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The rows of a host's last snapshots, as far back as rules look: made by detection of what is packed, and deleted when
# no rule looks at them any more. Postgres does not log these three: after its crash they are empty, and made again.

# Of which older snapshots the rows are there that correlations over a longer time match, and no others.
kept_windows = Table(
    "kept_windows",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # How far back they are looked at.
    Column("back_seconds", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    # What the rows have to be: 16 bytes for each rule that is counted, sorted.
    Column("wanted", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

connection_counts = Table(
    "connection_counts",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    # The kernel's audit session of the login; 0: none. Not part of the key: it differs at each login.
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    Column("origin_id", BigInteger),
    Column("name_id", BigInteger),
    *(Column(outcome, BigInteger, nullable=False) for outcome in OUTCOMES),
    Column("handshake_us_total", BigInteger, nullable=False),
    Column("handshake_us_max", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

observations = Table(
    "observations",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    Column("score", Double),
    Column("surprise", Double),
    Column("unusual", Boolean),
    Column("channel", Text),
    Column("novelty", Text),
    *(Column(f"p_{name}", Double) for name in CHANNELS),
    Column("explanation", Text),
    sqlite_with_rowid=False,
)
