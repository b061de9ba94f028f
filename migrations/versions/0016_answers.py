"""How far alerts have come, what people answered, and what they want to hear nothing of."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0016"
down_revision: str | None = "0015"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXES = (("host_id", "end"), ("state", "host_id"), ("thread_id",))


def _added() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("state", sa.String(8), nullable=False, server_default="resolved"),
        sa.Column("resolves_at", MOMENT),
        sa.Column("resolved_at", MOMENT),
        sa.Column("resolved_by", sa.Text()),
        sa.Column("acknowledged_at", MOMENT),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("silenced_by", NUMBER),
        sa.Column("thread_id", sa.BigInteger()),
        sa.Column("actors", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("channels", sa.JSON()),
    )


def upgrade() -> None:
    """What is there is over: what comes within its cooldown opens it again."""
    for column in _added():
        op.add_column("alerts", column)
    for columns in _INDEXES:
        op.create_index(op.f(f"ix_alerts_{'_'.join(columns)}"), "alerts", list(columns))
    op.execute('UPDATE alerts SET resolved_at = "end", notified_at = coalesce(notified_at, opened_at)')
    op.create_table(
        "alert_events",
        sa.Column("event_id", NUMBER, nullable=False),
        sa.Column("alert_id", NUMBER, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text()),
        sa.Column("said", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name=op.f("fk_alert_events_alert_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_alert_events")),
    )
    op.create_index(op.f("ix_alert_events_alert_id"), "alert_events", ["alert_id"])
    op.create_table(
        "alert_silences",
        sa.Column("silence_id", NUMBER, nullable=False),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("starts_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expired_by", sa.Text()),
        sa.PrimaryKeyConstraint("silence_id", name=op.f("pk_alert_silences")),
    )
    op.create_index(op.f("ix_alert_silences_ends_at"), "alert_silences", ["ends_at"])


def downgrade() -> None:
    """What people answered is forgotten, and what was never sent."""
    op.drop_table("alert_silences")
    op.drop_table("alert_events")
    # An older version does not know the word.
    op.execute("DELETE FROM notifications WHERE state = 'withheld'")
    for columns in _INDEXES:
        op.drop_index(op.f(f"ix_alerts_{'_'.join(columns)}"), "alerts")
    for column in reversed(_added()):
        op.drop_column("alerts", column.name)
