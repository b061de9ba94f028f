"""How often a host was seen to come back, for what happens then is a kind of time of its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0025"
down_revision: str | None = "0024"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """None was counted yet."""
    op.add_column("model_promises", sa.Column("restarts", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("model_promises", sa.Column("restarted_at", MOMENT))
    op.add_column("model_promises", sa.Column("until", MOMENT))


def downgrade() -> None:
    """What happens after a restart is like all else."""
    with op.batch_alter_table("model_promises") as table:
        for name in ("until", "restarted_at", "restarts"):
            table.drop_column(name)
