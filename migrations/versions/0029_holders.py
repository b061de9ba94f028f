"""Which process holds a notification that is under way; and the column for what was told together says so."""

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | None = "0028"


def upgrade() -> None:
    """What is under way has a holder that nobody knows: its lease ends by itself."""
    op.add_column("notifications", sa.Column("leased_by", sa.Text()))
    # Not alembic's own, which would copy the table on SQLite.
    op.execute("ALTER TABLE notifications RENAME COLUMN digest_id TO told_with")


def downgrade() -> None:
    """An older version waits for the end of each lease."""
    op.execute("ALTER TABLE notifications RENAME COLUMN told_with TO digest_id")
    op.drop_column("notifications", "leased_by")
