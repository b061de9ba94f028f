"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None

# Microseconds since 1970 where there is no type for a moment in time.
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
# SQLite numbers by itself what is an INTEGER PRIMARY KEY.
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Makes them all."""
    op.create_table(
        "hosts",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_hosts")),
        sa.UniqueConstraint("host", name=op.f("uq_hosts_host")),
    )
    op.create_table(
        "model_channels",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("maximum", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("exceedance", sa.Double(), nullable=False),
        sa.Column("scale", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "channel", name=op.f("pk_model_channels")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_hours",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("maximum", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "channel", "hour", name=op.f("pk_model_hours")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_samples",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "slot", name=op.f("pk_model_samples")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_subjects",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.LargeBinary(16), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("first_seconds", sa.Double(), nullable=False),
        sa.Column("hours", sa.BigInteger(), nullable=False),
        sa.Column("last_hour", sa.BigInteger(), nullable=False),
        sa.Column("surprise", sa.Double(), nullable=False),
        sa.Column("surprise_seconds", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("hour_mean", sa.Double(), nullable=False),
        sa.Column("recent", sa.Double(), nullable=False),
        sa.Column("recent_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "subject", name=op.f("pk_model_subjects")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "observations",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("session", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("surprise", sa.Double(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("novelty", sa.Text(), nullable=True),
        sa.Column("p_novelty", sa.Double(), nullable=True),
        sa.Column("p_volume", sa.Double(), nullable=True),
        sa.Column("p_forest", sa.Double(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("host_id", "seq", "key_id", "session", name=op.f("pk_observations")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alerts",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=32), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("rule_title", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(length=13), nullable=False),
        sa.Column("group", sa.JSON(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("end", MOMENT, nullable=False),
        sa.Column("finding_count", sa.BigInteger(), nullable=False),
        sa.Column("attempted", sa.BigInteger(), nullable=False),
        sa.Column("established", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("timed_out", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("destinations", sa.BigInteger(), nullable=False),
        sa.Column("ports", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("explanations", sa.JSON(), nullable=False),
        sa.Column("notified_magnitude", sa.BigInteger(), nullable=False),
        sa.Column("notified_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_alerts_host_id")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_end"), "alerts", ["end"], unique=False)
    op.create_index(
        op.f("ix_alerts_host_id_fingerprint_end"), "alerts", ["host_id", "fingerprint", "end"], unique=False
    )
    op.create_table(
        "connection_keys",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("protocol", sa.String(length=8), nullable=False),
        sa.Column("executable", sa.Text(), nullable=True),
        sa.Column("command", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("login_user", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("container", sa.Text(), nullable=True),
        sa.Column("remote_address", sa.LargeBinary(16), nullable=False),
        sa.Column("remote_port", sa.Integer(), nullable=True),
        sa.Column("local_port", sa.Integer(), nullable=True),
        sa.Column("first_seen", MOMENT, nullable=False),
        sa.Column("last_seen", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_connection_keys_host_id")),
        sa.PrimaryKeyConstraint("host_id", "key_id", name=op.f("pk_connection_keys")),
        sa.UniqueConstraint("host_id", "digest", name=op.f("uq_connection_keys_host_id_digest")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "detection_cursors",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_detection_cursors_host_id")),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_detection_cursors")),
    )
    op.create_table(
        "model_hosts",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("observed_seconds", sa.Double(), nullable=False),
        sa.Column("offered", sa.BigInteger(), nullable=False),
        sa.Column("trained_seconds", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_model_hosts_host_id")),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_model_hosts")),
    )
    op.create_table(
        "models",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("trained_at", MOMENT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_models_host_id")),
        sa.PrimaryKeyConstraint("host_id", "version", name=op.f("pk_models")),
    )
    op.create_table(
        "snapshots",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("end", MOMENT, nullable=False),
        sa.Column("lost_attempted", sa.BigInteger(), nullable=False),
        sa.Column("lost_established", sa.BigInteger(), nullable=False),
        sa.Column("lost_refused", sa.BigInteger(), nullable=False),
        sa.Column("lost_timed_out", sa.BigInteger(), nullable=False),
        sa.Column("lost_failed", sa.BigInteger(), nullable=False),
        sa.Column("lost_inbound", sa.BigInteger(), nullable=False),
        sa.Column("lost_pending_full", sa.BigInteger(), nullable=False),
        sa.Column("lost_unmatched", sa.BigInteger(), nullable=False),
        sa.Column("lost_unnamed", sa.BigInteger(), nullable=False),
        sa.Column("lost_unread", sa.BigInteger(), nullable=False),
        sa.Column("lost_missed", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_snapshots_host_id")),
        sa.PrimaryKeyConstraint("host_id", "seq", name=op.f("pk_snapshots")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_snapshots_host_id_end"), "snapshots", ["host_id", "end"], unique=False)
    op.create_table(
        "alert_values",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("field", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_alert_values_alert_id")),
        sa.PrimaryKeyConstraint("alert_id", "field", "value", name=op.f("pk_alert_values")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "connection_counts",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("session", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempted", sa.BigInteger(), nullable=False),
        sa.Column("established", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("timed_out", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("handshake_us_total", sa.BigInteger(), nullable=False),
        sa.Column("handshake_us_max", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id", "key_id"],
            ["connection_keys.host_id", "connection_keys.key_id"],
            name=op.f("fk_connection_counts_host_id_key_id"),
        ),
        sa.ForeignKeyConstraint(
            ["host_id", "seq"], ["snapshots.host_id", "snapshots.seq"], name=op.f("fk_connection_counts_host_id_seq")
        ),
        sa.PrimaryKeyConstraint("host_id", "seq", "key_id", "session", name=op.f("pk_connection_counts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evidence",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("session", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("found_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_evidence_alert_id")),
        sa.PrimaryKeyConstraint("alert_id", "seq", "key_id", "session", name=op.f("pk_evidence")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "findings",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=32), nullable=False),
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("end", MOMENT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_findings_alert_id")),
        sa.ForeignKeyConstraint(
            ["host_id", "seq"], ["snapshots.host_id", "snapshots.seq"], name=op.f("fk_findings_host_id_seq")
        ),
        sa.PrimaryKeyConstraint("host_id", "seq", "rule_id", "fingerprint", name=op.f("pk_findings")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_findings_alert_id"), "findings", ["alert_id"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("notification_id", NUMBER, nullable=False),
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_notifications_alert_id")),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_alert_id"), "notifications", ["alert_id"], unique=False)
    op.create_index(
        op.f("ix_notifications_state_next_attempt_at"), "notifications", ["state", "next_attempt_at"], unique=False
    )
