"""Who is sending what, when that failed last, and what was told together."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0015"
down_revision: str | None = "0014"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """What was under way becomes due when it would have been, by the time of its next attempt."""
    op.add_column("notifications", sa.Column("failed_at", MOMENT, nullable=True))
    op.add_column("notifications", sa.Column("leased_until", MOMENT, nullable=True))
    op.add_column("notifications", sa.Column("digest_id", sa.BigInteger(), nullable=True))
    for name in ("delivered_at", "failed_at"):
        op.create_index(op.f(f"ix_notifications_channel_{name}"), "notifications", ["channel", name])


def downgrade() -> None:
    """What is under way is so until its lease ends; an error stays with what waits or is dead alone."""
    op.execute("UPDATE notifications SET next_attempt_at = leased_until WHERE leased_until > next_attempt_at")
    op.execute("UPDATE notifications SET last_error = NULL WHERE state = 'delivered'")
    for name in ("delivered_at", "failed_at"):
        op.drop_index(op.f(f"ix_notifications_channel_{name}"), "notifications")
    for name in ("digest_id", "leased_until", "failed_at"):
        op.drop_column("notifications", name)
