"""What each channel's words were worth in the last week's hours."""

import sqlalchemy as sa
from alembic import op

revision: str = "0030"
down_revision: str | None = "0029"


def upgrade() -> None:
    """Channels are taken at their word until hours have told."""
    op.create_table(
        "model_records",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("maximum", sa.Double(), nullable=False),
        sa.Column("hours", sa.Integer(), nullable=False),
        sa.Column("reached", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "channel", name=op.f("pk_model_records")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """The hours of channels go too; those of their members stay."""
    op.drop_table("model_records")
    op.execute("DELETE FROM model_hours WHERE channel LIKE 'p!_%' ESCAPE '!'")
