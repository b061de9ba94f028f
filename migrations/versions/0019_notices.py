"""What people are told that is no alert."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0019"
down_revision: str | None = "0018"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """A notification tells of an alert or of a notice."""
    op.create_table(
        "notices",
        sa.Column("notice_id", NUMBER, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(13), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("content", sa.JSON()),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notices")),
        sa.UniqueConstraint("kind", "subject", name=op.f("uq_notices_kind_subject")),
    )
    with op.batch_alter_table("notifications") as table:
        table.alter_column("alert_id", existing_type=NUMBER, nullable=True)
        table.add_column(sa.Column("notice_id", NUMBER))
        table.create_foreign_key(op.f("fk_notifications_notice_id"), "notices", ["notice_id"], ["notice_id"])
        table.create_index(op.f("ix_notifications_notice_id"), ["notice_id"])


def downgrade() -> None:
    """An older version has no words for what is no alert."""
    op.execute("DELETE FROM notifications WHERE alert_id IS NULL")
    with op.batch_alter_table("notifications") as table:
        table.drop_index(op.f("ix_notifications_notice_id"))
        table.drop_constraint(op.f("fk_notifications_notice_id"), type_="foreignkey")
        table.drop_column("notice_id")
        table.alter_column("alert_id", existing_type=NUMBER, nullable=False)
    op.drop_table("notices")
