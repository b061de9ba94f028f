"""Of several rules that see the same rows one tells of it, and names the others."""

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"


def upgrade() -> None:
    """What there is was told by each rule itself."""
    op.add_column("alerts", sa.Column("also_seen_by", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Findings of the other rules stay with their alerts."""
    op.drop_column("alerts", "also_seen_by")
