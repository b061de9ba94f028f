"""Whose connects they were, what their destinations are called, and how well they were seen."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"

# Microseconds since 1970 where there is no type for a moment in time.
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Adds to what is there; nothing stored is changed."""
    for name in ("lost_folded", "lost_unnumbered", "lost_names"):
        op.add_column("snapshots", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("snapshots", sa.Column("self_test_passed", sa.Boolean(), nullable=True))
    op.add_column("snapshots", sa.Column("blind_since", MOMENT, nullable=True))
    for name in ("late_seconds", "clock_step_seconds", "suspended_seconds", "gap_seconds"):
        op.add_column("snapshots", sa.Column(name, sa.Double(), server_default="0", nullable=False))
    op.add_column("snapshots", sa.Column("unseen", sa.Text(), server_default="", nullable=False))

    # SQLite drops a NOT NULL only by copying the table, which the store's `upgrade` switches foreign keys off for.
    with op.batch_alter_table("connection_keys", table_kwargs={"sqlite_with_rowid": False}) as keys:
        keys.add_column(sa.Column("script", sa.Text(), nullable=True))
        keys.add_column(sa.Column("parent_executable", sa.Text(), nullable=True))
        keys.alter_column("remote_address", existing_type=sa.LargeBinary(16), nullable=True)

    op.create_table(
        "login_origins",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("origin_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("login_address", sa.LargeBinary(16), nullable=True),
        sa.Column("login_source", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_login_origins_host_id")),
        sa.PrimaryKeyConstraint("host_id", "origin_id", name=op.f("pk_login_origins")),
        sa.UniqueConstraint("host_id", "digest", name=op.f("uq_login_origins_host_id_digest")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "destination_names",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("name_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("remote_name", sa.Text(), nullable=True),
        sa.Column("remote_name_source", sa.Text(), nullable=True),
        sa.Column("remote_country", sa.Text(), nullable=True),
        sa.Column("remote_network", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_destination_names_host_id")),
        sa.PrimaryKeyConstraint("host_id", "name_id", name=op.f("pk_destination_names")),
        sa.UniqueConstraint("host_id", "digest", name=op.f("uq_destination_names_host_id_digest")),
        sqlite_with_rowid=False,
    )
    op.add_column("connection_counts", sa.Column("origin_id", sa.BigInteger(), nullable=True))
    op.add_column("connection_counts", sa.Column("name_id", sa.BigInteger(), nullable=True))
