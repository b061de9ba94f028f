"""Alerts that nobody has acknowledged yet, where somebody else is told if that lasts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0021"
down_revision: str | None = "0020"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Alerts that are open begin to wait when the detector first looks at them."""
    op.create_table(
        "unanswered",
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("severity", sa.String(13), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_unanswered")),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_unanswered_alert_id")),
    )


def downgrade() -> None:
    """What was told stays told."""
    op.drop_table("unanswered")
