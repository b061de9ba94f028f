"""The database tables, the same on SQLite and Postgres. Every large table is keyed by host first."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from detector.domain import Direction, NotificationState, Outcome, Protocol, Severity
from detector.store.columns import Address, UtcDateTime


def _text_enum(values: type[Direction | Protocol | Outcome | Severity | NotificationState]) -> String:
    return String(max(len(v.value) for v in values))


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# An INTEGER PRIMARY KEY is what SQLite numbers by itself.
_Number = BigInteger().with_variant(Integer(), "sqlite")

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
)

# What grows with time is in parts by time on Postgres, so that what has expired is dropped and not deleted; that is why
# the time is part of the keys.
_BY_END = 'RANGE ("end")'
_BY_START = 'RANGE ("start")'

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
    Index(None, "host_id", "end"),
    Index(None, "host_id", "mark"),
    sqlite_with_rowid=False,
    postgresql_partition_by=_BY_END,
)

# The counts of a snapshot, and what detection says of them, in columns that are packed together: see
# detector.store.packing. On SQLite with row numbers: a table without them has no room for rows of this length.
packed_counts = Table(
    "packed_counts",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("end", UtcDateTime, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    postgresql_partition_by=_BY_END,
)

packed_observations = Table(
    "packed_observations",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("end", UtcDateTime, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    postgresql_partition_by=_BY_END,
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
    Column("direction", _text_enum(Direction), nullable=False),
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

_OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")


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
        *(Column(outcome, BigInteger, nullable=False) for outcome in _OUTCOMES),
        Column("handshake_us_total", BigInteger, nullable=False),
        Column("handshake_us_max", BigInteger, nullable=False),
        Column("first_seen", UtcDateTime, nullable=False),
        Column("last_seen", UtcDateTime, nullable=False),
        # NULL: there was no score.
        Column("peak_score", Double),
        sqlite_with_rowid=False,
        postgresql_partition_by=_BY_START,
    )


hourly_counts = _rolled_up("hourly_counts")
daily_counts = _rolled_up("daily_counts")

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

# --- written by detection -------------------------------------------------------------------------------------------

detection_cursors = Table(
    "detection_cursors",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # The last snapshot whose findings are committed.
    Column("seq", BigInteger, nullable=False),
    # The first one whose rows are in `connection_counts` and `observations`.
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

# The rows of a host's last snapshots, as far back as rules look: made by detection of what is packed, and deleted when
# no rule looks at them any more. Postgres does not log them: after its crash they are empty, and made again.

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
    *(Column(outcome, BigInteger, nullable=False) for outcome in _OUTCOMES),
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
    Column("channel", Text),
    Column("novelty", Text),
    Column("p_novelty", Double),
    Column("p_volume", Double),
    Column("p_forest", Double),
    Column("explanation", Text),
    sqlite_with_rowid=False,
)

# What the models have learnt. Their times in seconds are observed time: the sum of the lengths of the host's snapshots
# that detection has taken in, so that neither a gap nor a jump of the clock makes anything look older.

model_hosts = Table(
    "model_hosts",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("observed_seconds", Double, nullable=False),
    # Rows that were offered to the training sample.
    Column("offered", BigInteger, nullable=False),
    # Observed time of the last training.
    Column("trained_seconds", Double),
)

model_subjects = Table(
    "model_subjects",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    # BLAKE2b-128 over the kind and what it is about: names are of any length and chosen by others.
    Column("subject", LargeBinary(16), primary_key=True),
    # "pair", "destination", "user_executable" …: see detector.models.features.
    Column("kind", String(24), nullable=False),
    Column("first_seconds", Double, nullable=False),
    # Observed hours in which it was active, and the last of them.
    Column("hours", BigInteger, nullable=False),
    Column("last_hour", BigInteger, nullable=False),
    # How surprising it was when new, and when that was.
    Column("surprise", Double, nullable=False),
    Column("surprise_seconds", Double, nullable=False),
    # Its usual volume: see detector.models.baseline.
    Column("weight", Double, nullable=False),
    Column("mean", Double, nullable=False),
    Column("hour_mean", Double, nullable=False),
    Column("recent", Double, nullable=False),
    Column("recent_seconds", Double, nullable=False),
    sqlite_with_rowid=False,
)

model_channels = Table(
    "model_channels",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("channel", String(32), primary_key=True),
    # The largest value of the observed hour that is under way.
    Column("maximum", Double, nullable=False),
    # The tail in force: see detector.models.calibration.
    Column("threshold", Double, nullable=False),
    Column("exceedance", Double, nullable=False),
    Column("scale", Double, nullable=False),
    sqlite_with_rowid=False,
)

model_hours = Table(
    "model_hours",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("channel", String(32), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("maximum", Double, nullable=False),
    sqlite_with_rowid=False,
)

model_samples = Table(
    "model_samples",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    # Little-endian float32, in the order of detector.models.features.FEATURES.
    Column("features", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

models = Table(
    "models",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("trained_at", UtcDateTime, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("features", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    # BLAKE2b-128 over content, features and parameters.
    Column("digest", LargeBinary(16), nullable=False),
    Column("content", LargeBinary, nullable=False),
    # Why the model was refused; NULL: it was not.
    Column("fault", Text),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", _Number, primary_key=True),
    Column("host_id", ForeignKey("hosts.host_id"), nullable=False),
    Column("fingerprint", String(32), nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("rule_title", Text, nullable=False),
    Column("severity", _text_enum(Severity), nullable=False),
    Column("group", JSON, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("start", UtcDateTime, nullable=False),
    Column("end", UtcDateTime, nullable=False),
    Column("finding_count", BigInteger, nullable=False),
    Column("attempted", BigInteger, nullable=False),
    Column("established", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("timed_out", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("destinations", BigInteger, nullable=False),
    Column("ports", BigInteger, nullable=False),
    Column("score", Double),
    Column("summary", Text, nullable=False),
    # Pairs of surprise and sentence, the most surprising first.
    Column("explanations", JSON, nullable=False),
    # What the last notification said, to know when the incident has outgrown it.
    Column("notified_magnitude", BigInteger, nullable=False),
    Column("notified_at", UtcDateTime),
    Index(None, "host_id", "fingerprint", "end"),
    Index(None, "end"),
)

findings = Table(
    "findings",
    metadata,
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("rule_id", Text, primary_key=True),
    Column("fingerprint", String(32), primary_key=True),
    Column("alert_id", ForeignKey("alerts.alert_id"), nullable=False),
    # The named reason for what became of it ("opened", "grouped" …).
    Column("decision", Text, nullable=False),
    Column("start", UtcDateTime, nullable=False),
    Column("end", UtcDateTime, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Index(None, "alert_id"),
    sqlite_with_rowid=False,
)

# The rows behind an alert, each once, however many findings named it.
evidence = Table(
    "evidence",
    metadata,
    Column("alert_id", ForeignKey("alerts.alert_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    # The snapshot whose findings named it first: totals advance by the rows that are new.
    Column("found_seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What differs among an alert's rows (addresses, ports, users …), each value once: counting them needs no second look
# at the rows.
alert_values = Table(
    "alert_values",
    metadata,
    Column("alert_id", ForeignKey("alerts.alert_id"), primary_key=True),
    Column("field", String(16), primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", _Number, primary_key=True),
    Column("alert_id", ForeignKey("alerts.alert_id"), nullable=False),
    # A name from the configuration; addresses and secrets stay there.
    Column("channel", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", _text_enum(NotificationState), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("last_error", Text),
    Index(None, "state", "next_attempt_at"),
    Index(None, "alert_id"),
)
