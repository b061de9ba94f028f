"""Hosts that fall silent, and rows for the rules that Postgres need not log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
MADE_AGAIN = ("connection_counts", "observations")


def upgrade() -> None:
    """Nothing that is there changes."""
    op.add_column("snapshots", sa.Column("stopped", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "silences",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("noticed_at", MOMENT, nullable=False),
        sa.Column("silent_seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_silences_host_id")),
        sa.PrimaryKeyConstraint("host_id", "seq", name=op.f("pk_silences")),
        sqlite_with_rowid=False,
    )
    _set("UNLOGGED")


def downgrade() -> None:
    """Silences are forgotten."""
    _set("LOGGED")
    op.drop_table("silences")
    op.drop_column("snapshots", "stopped")


def _set(how: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in MADE_AGAIN:
            op.execute(f"ALTER TABLE {table} SET {how}")
