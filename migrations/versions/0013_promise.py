"""The threshold of each host, how it has moved, and what people said of alerts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0012"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MEASURES = (
    *("false_alerts_per_day", "maximum", "observed", "correction"),
    *("prior_threshold", "prior_scale", "tail_threshold", "tail_scale"),
)


def upgrade() -> None:
    """Thresholds begin with what the promise alone says."""
    op.create_table(
        "model_promises",
        sa.Column("host_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in MEASURES),
        sa.Column("hours", sa.BigInteger(), nullable=False),
        sa.Column("week", sa.LargeBinary(), nullable=False),
        sa.Column("scored_since", MOMENT),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_model_promises_host_id")),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_model_promises")),
    )
    op.create_table(
        "model_adjustments",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("surprise", "observed", "correction")),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_model_adjustments_host_id")),
        sa.PrimaryKeyConstraint("host_id", "number", name=op.f("pk_model_adjustments")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alert_verdicts",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("verdict", sa.String(6), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_alert_verdicts_alert_id")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert_verdicts")),
    )


def downgrade() -> None:
    """All of it is forgotten; the hours' surprises too, which belong to no channel."""
    for name in ("alert_verdicts", "model_adjustments", "model_promises"):
        op.drop_table(name)
    op.execute("DELETE FROM model_hours WHERE channel = 'combined'")
