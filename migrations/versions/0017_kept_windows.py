"""Of older snapshots only the rows that correlations over a longer time match."""

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"

ROWS = ("connection_counts", "observations")


def upgrade() -> None:
    """What is there are all rows of the last snapshots; detection leaves of them what is needed."""
    op.create_table(
        "kept_windows",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("back_seconds", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_kept_windows_host_id")),
        sa.PrimaryKeyConstraint("host_id", "back_seconds", name=op.f("pk_kept_windows")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE kept_windows SET UNLOGGED")


def downgrade() -> None:
    """Rows of snapshots of which not all are there would be taken for all of them."""
    recent = "SELECT recent_seq FROM detection_cursors WHERE detection_cursors.host_id = {table}.host_id"
    for table in ROWS:
        op.execute(f"DELETE FROM {table} WHERE seq < ({recent.format(table=table)})")
    op.drop_table("kept_windows")
