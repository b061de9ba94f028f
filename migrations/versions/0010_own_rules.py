"""Findings that are held back, and rule files that are refused."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Nothing that is there changes."""
    op.create_table(
        "rule_faults",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("noticed_at", MOMENT, nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_rule_faults_host_id")),
        sa.PrimaryKeyConstraint("host_id", "seq", name=op.f("pk_rule_faults")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "held_findings",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("group", sa.JSON(), nullable=False),
        sa.Column("findings", sa.BigInteger(), nullable=False),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("end", MOMENT, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_held_findings_host_id")),
        sa.PrimaryKeyConstraint("host_id", "rule_id", "fingerprint", name=op.f("pk_held_findings")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """What was held back is forgotten, and what was told of rule files."""
    op.drop_table("held_findings")
    op.drop_table("rule_faults")
