"""What rules remember: when combinations of values were there, and what groups did in each hour."""

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Filled by detection."""
    op.create_table(
        "seen_terms",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fields", sa.LargeBinary(length=16), nullable=False),
        sa.Column("terms", sa.LargeBinary(length=16), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "fields", "terms", "day", name=op.f("pk_seen_terms")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "noted_fields",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("fields", sa.LargeBinary(length=16), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_noted_fields_host_id")),
        sa.PrimaryKeyConstraint("host_id", "fields", name=op.f("pk_noted_fields")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usual_counts",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.LargeBinary(length=16), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "subject", "hour", name=op.f("pk_usual_counts")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """It is learnt again."""
    for table in ("usual_counts", "noted_fields", "seen_terms"):
        op.drop_table(table)
