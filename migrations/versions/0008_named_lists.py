"""Named lists that rules compare with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Nothing that is there changes."""
    op.create_table(
        "named_lists",
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("used_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_named_lists")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "list_ranges",
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("low", sa.LargeBinary(), nullable=False),
        sa.Column("high", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "low", name=op.f("pk_list_ranges")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """They are made again of their files."""
    op.drop_table("list_ranges")
    op.drop_table("named_lists")
