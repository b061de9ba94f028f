"""What the models make of what people say of alerts, and what they knew before."""

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """What was said until now moves thresholds alone, as it did."""
    op.create_table(
        "alert_verdict_keys",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_alert_verdict_keys_host_id")),
        sa.ForeignKeyConstraint(["alert_id"], ["alert_verdicts.alert_id"], name=op.f("fk_alert_verdict_keys_alert_id")),
        sa.PrimaryKeyConstraint("host_id", "digest", "alert_id", name=op.f("pk_alert_verdict_keys")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_alert_verdict_keys_alert_id"), "alert_verdict_keys", ["alert_id"])
    op.create_table(
        "alert_verdict_rows",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("layout", sa.BigInteger(), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alert_verdicts.alert_id"], name=op.f("fk_alert_verdict_rows_alert_id")),
        sa.PrimaryKeyConstraint("alert_id", "number", name=op.f("pk_alert_verdict_rows")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alert_verdict_subjects",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("subject", sa.LargeBinary(16), nullable=False),
        sa.Column("kept_seconds", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alert_verdicts.alert_id"], name=op.f("fk_alert_verdict_subjects_alert_id")
        ),
        sa.PrimaryKeyConstraint("alert_id", "subject", name=op.f("pk_alert_verdict_subjects")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """What people said moves thresholds alone; what was learnt of it stays learnt."""
    op.drop_table("alert_verdict_subjects")
    op.drop_table("alert_verdict_rows")
    op.drop_table("alert_verdict_keys")
