"""What people answered when they were asked what is normal for a host."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0014"
down_revision: str | None = "0013"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Nobody was asked yet."""
    op.create_table(
        "model_reviews",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("answer", sa.String(10), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_model_reviews_host_id")),
        sa.PrimaryKeyConstraint("host_id", "digest", name=op.f("pk_model_reviews")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """What was called not normal is learnt again."""
    op.drop_table("model_reviews")
