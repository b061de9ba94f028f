"""Alerts, with what is behind them, and what was sent."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Index, Integer, String, Table, Text

from detector.domain import NotificationState, Severity
from detector.store.columns import UtcDateTime
from detector.store.tables.schema import metadata, text_enum

# An INTEGER PRIMARY KEY is what SQLite numbers by itself.
_Number = BigInteger().with_variant(Integer(), "sqlite")

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", _Number, primary_key=True),
    Column("host_id", ForeignKey("hosts.host_id"), nullable=False),
    Column("fingerprint", String(32), nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("rule_title", Text, nullable=False),
    Column("severity", text_enum(Severity), nullable=False),
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
    Column("state", text_enum(NotificationState), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("last_error", Text),
    Column("failed_at", UtcDateTime),
    # While it is being sent.
    Column("leased_until", UtcDateTime),
    # The first of those that one message told together.
    Column("digest_id", BigInteger),
    Index(None, "state", "next_attempt_at"),
    Index(None, "channel", "delivered_at"),
    Index(None, "channel", "failed_at"),
    Index(None, "alert_id"),
)
