"""How many snapshots the size of the database took before detection had seen them."""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Adds to what is there; nothing stored is changed."""
    op.add_column("hosts", sa.Column("given_up", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """How many they were is forgotten; that the next snapshots say what was lost stays."""
    op.drop_column("hosts", "given_up")
