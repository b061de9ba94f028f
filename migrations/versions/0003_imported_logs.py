"""Which logs were imported into which host, and how far."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"

# Microseconds since 1970 where there is no type for a moment in time.
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Adds a table; nothing stored is changed."""
    op.create_table(
        "imports",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.LargeBinary(16), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("snapshots", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("stored_from", MOMENT, nullable=False),
        sa.Column("stored_until", MOMENT, nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=True),
        sa.Column("left_out", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_imports_host_id")),
        sa.PrimaryKeyConstraint("host_id", "source", name=op.f("pk_imports")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_imports_source"), "imports", ["source"])


def downgrade() -> None:
    """What was imported stays, but that it was is forgotten: the same log could be imported again."""
    op.drop_table("imports")
