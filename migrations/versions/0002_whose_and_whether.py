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


def downgrade() -> None:
    """Where logins came from, what destinations are called and how well snapshots were taken is lost.

    So are counts without an address, which the older schema cannot hold, and what scripts and parents tell apart: keys
    that differ in nothing else stay, and count apart.
    """
    for table in ("connection_counts", "observations", "evidence"):
        host_id = (
            "(SELECT a.host_id FROM alerts a WHERE a.alert_id = t.alert_id)" if table == "evidence" else "t.host_id"
        )
        op.execute(
            f"DELETE FROM {table} AS t WHERE EXISTS (SELECT 1 FROM connection_keys k WHERE k.host_id = {host_id}"
            " AND k.key_id = t.key_id AND k.remote_address IS NULL)"
        )
    op.execute("DELETE FROM connection_keys WHERE remote_address IS NULL")
    for name in ("name_id", "origin_id"):
        op.drop_column("connection_counts", name)
    op.drop_table("destination_names")
    op.drop_table("login_origins")
    with op.batch_alter_table("connection_keys", table_kwargs={"sqlite_with_rowid": False}) as keys:
        keys.drop_column("parent_executable")
        keys.drop_column("script")
        keys.alter_column("remote_address", existing_type=sa.LargeBinary(16), nullable=False)
    for name in ("unseen", "gap_seconds", "suspended_seconds", "clock_step_seconds", "late_seconds", "blind_since"):
        op.drop_column("snapshots", name)
    for name in ("self_test_passed", "lost_names", "lost_unnumbered", "lost_folded"):
        op.drop_column("snapshots", name)
