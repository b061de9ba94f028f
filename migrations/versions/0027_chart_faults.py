"""Why a message was delivered without its chart."""

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"


def upgrade() -> None:
    """Of what was delivered before there were charts none is missing."""
    op.add_column("notifications", sa.Column("chart_fault", sa.Text()))


def downgrade() -> None:
    """An older version draws none."""
    with op.batch_alter_table("notifications") as table:
        table.drop_column("chart_fault")
