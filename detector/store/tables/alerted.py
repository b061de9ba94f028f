"""Alerts, with what is behind them, and what was sent."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from detector.domain import AlertState, NotificationState, Severity
from detector.store.columns import UtcDateTime
from detector.store.tables.schema import metadata, text_enum

# An INTEGER PRIMARY KEY is what SQLite numbers by itself.
_Number = BigInteger().with_variant(Integer(), "sqlite")


def _of_some(*columns: str) -> Index:
    """An index of the rows of which the last column is known: few are, and the others need not be written to it.

    On Postgres too: see `schema`.
    """
    return Index(None, *columns, sqlite_where=text(f"{columns[-1]} IS NOT NULL"))


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
    # When people were last told, or would have been if any channel took it; NULL: never.
    Column("notified_at", UtcDateTime),
    # What was written before there were states is over.
    Column("state", text_enum(AlertState), nullable=False, server_default=AlertState.RESOLVED.value),
    # When it will have been quiet for long enough, by data time.
    Column("resolves_at", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    # NULL: nobody, it was quiet.
    Column("resolved_by", Text),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", Text),
    # Of `alert_silences`, which may have been deleted since.
    Column("silenced_by", _Number),
    # The number of the thread's first alert, which may have been deleted since; NULL: it is the first itself.
    Column("thread_id", BigInteger),
    # Whose doing it is, to find what else they did: see detector.alerts.threads.
    Column("actors", JSON, nullable=False, server_default="[]"),
    # The channels that its rule names; NULL: all that accept its severity.
    Column("channels", JSON(none_as_null=True)),
    # What its rows say, by field (addresses, ports, users …): the value where all of them say the same, "" if it is not
    # known; null where they differ: then each value is in `alert_values`.
    Column("common", JSON, nullable=False, server_default="{}"),
    # The titles of other rules that saw some of its rows and told nobody, by their ids: see detector.alerts.covering.
    Column("also_seen_by", JSON, nullable=False, server_default="{}"),
    Index(None, "host_id", "fingerprint", "end"),
    Index(None, "host_id", "end"),
    Index(None, "state", "host_id"),
    _of_some("thread_id"),
    Index(None, "end"),
)

# What happened to alerts beside findings and notifications, and what people said of them.
alert_events = Table(
    "alert_events",
    metadata,
    Column("event_id", _Number, primary_key=True),
    Column("alert_id", ForeignKey("alerts.alert_id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # "resolved", "reopened", "acknowledged", "note" …
    Column("kind", Text, nullable=False),
    # NULL: no person.
    Column("author", Text),
    Column("said", Text, nullable=False),
    Index(None, "alert_id"),
)

# Alerts that nobody has acknowledged yet, where somebody else is told if that lasts.
unanswered = Table(
    "unanswered",
    metadata,
    Column("alert_id", ForeignKey("alerts.alert_id"), primary_key=True),
    # The alert's at that time: one that becomes more severe waits anew.
    Column("severity", text_enum(Severity), nullable=False),
    # By the clock of the detector.
    Column("since", UtcDateTime, nullable=False),
)

# What people want to hear nothing of for a while. Not to be confused with `silences`, which are of hosts.
alert_silences = Table(
    "alert_silences",
    metadata,
    Column("silence_id", _Number, primary_key=True),
    # Triples of field, operator and value: see detector.matchers.
    Column("matchers", JSON, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Who has ended it before its time.
    Column("expired_by", Text),
    Index(None, "ends_at"),
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

# The values of a field in which an alert's rows differ, each once: counting them needs no second look at the rows.
# Most alerts have none, but for a scan's ports or addresses.
alert_values = Table(
    "alert_values",
    metadata,
    Column("alert_id", ForeignKey("alerts.alert_id"), primary_key=True),
    Column("field", String(16), primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# What people are told that is no alert. Written once, however many workers would, as its kind and subject say.
notices = Table(
    "notices",
    metadata,
    Column("notice_id", _Number, primary_key=True),
    # "daily digest" …
    Column("kind", String(32), nullable=False),
    # What it is about: of a digest, when its period ends.
    Column("subject", Text, nullable=False),
    Column("severity", text_enum(Severity), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # What it says, by its kind; NULL: nothing, it marks where a row of notices begins.
    Column("content", JSON(none_as_null=True)),
    UniqueConstraint("kind", "subject"),
)

# Detectors that work on this database, until they end in order.
detectors = Table(
    "detectors",
    metadata,
    # The host on which it runs.
    Column("name", Text, primary_key=True),
    # By its own clock.
    Column("seen_at", UtcDateTime, nullable=False),
)

# Each tells of an alert or of a notice.
notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", _Number, primary_key=True),
    Column("alert_id", ForeignKey("alerts.alert_id")),
    Column("notice_id", ForeignKey("notices.notice_id")),
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
    # By which process: see detector.store.holders.
    Column("leased_by", Text),
    # The first of those that one message told together.
    Column("told_with", BigInteger),
    # Why it was delivered without its chart; NULL: with it, or none belongs to it.
    Column("chart_fault", Text),
    Index(None, "state", "next_attempt_at"),
    Index(None, "channel", "delivered_at"),
    _of_some("channel", "failed_at"),
    Index(None, "alert_id"),
    _of_some("notice_id"),
)
