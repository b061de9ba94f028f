"""Which detectors work on a database."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0026"
down_revision: str | None = "0025"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Each says so itself when it starts."""
    op.create_table(
        "detectors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_detectors")),
    )


def downgrade() -> None:
    """Nobody looks for them any more."""
    op.drop_table("detectors")
