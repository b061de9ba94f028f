"""Snapshots that waited, that were given up, and that are known again; databases that were replaced."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"

# Microseconds since 1970 where there is no type for a moment in time.
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Adds to what is there; nothing stored is changed."""
    op.add_column("snapshots", sa.Column("lost_snapshots", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("snapshots", sa.Column("waited_seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("snapshots", sa.Column("set_aside", sa.Text(), nullable=True))
    op.add_column("snapshots", sa.Column("mark", sa.LargeBinary(16), nullable=True))
    op.create_index(op.f("ix_snapshots_host_id_mark"), "snapshots", ["host_id", "mark"], unique=True)
    op.create_table(
        "replacements",
        sa.Column("replaced_at", MOMENT, autoincrement=False, nullable=False),
        sa.Column("set_aside", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("replaced_at", name=op.f("pk_replacements")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """What waited, what was given up and what was replaced is forgotten, and no snapshot is known again by its mark."""
    op.drop_table("replacements")
    op.drop_index(op.f("ix_snapshots_host_id_mark"), "snapshots")
    for name in ("mark", "set_aside", "waited_seconds", "lost_snapshots"):
        op.drop_column("snapshots", name)
