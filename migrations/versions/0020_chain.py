"""Snapshots are a hash chain, and what is found not to fit is remembered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0019"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
WITHOUT_ROWID = {"sqlite_with_rowid": False}


def upgrade() -> None:
    """The chain begins with the next snapshot of each host; what is there has expired up to the first."""
    op.add_column("snapshots", sa.Column("chain_hash", sa.LargeBinary(32)))
    op.add_column("detection_cursors", sa.Column("chain_hash", sa.LargeBinary(32)))
    op.add_column("hosts", sa.Column("expired_seq", sa.BigInteger(), nullable=False, server_default="0"))
    # Where numbers were left out before, nobody can say why.
    op.execute(
        "UPDATE hosts SET expired_seq ="
        " coalesce((SELECT max(s.seq) FROM snapshots s WHERE s.host_id = hosts.host_id), 0)"
    )
    op.create_table(
        "chain_breaks",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(7), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("noticed_at", MOMENT, nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_chain_breaks_host_id")),
        sa.PrimaryKeyConstraint("host_id", "first_seq", "kind", name=op.f("pk_chain_breaks")),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "tamperings",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("noticed_at", MOMENT, nullable=False),
        sa.Column("breaks", sa.Integer(), nullable=False),
        sa.Column("first_break", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_tamperings_host_id")),
        sa.PrimaryKeyConstraint("host_id", "seq", name=op.f("pk_tamperings")),
        **WITHOUT_ROWID,
    )


def downgrade() -> None:
    """What was found is forgotten with the chain."""
    op.drop_table("tamperings")
    op.drop_table("chain_breaks")
    with op.batch_alter_table("hosts") as table:
        table.drop_column("expired_seq")
    with op.batch_alter_table("detection_cursors") as table:
        table.drop_column("chain_hash")
    with op.batch_alter_table("snapshots", table_kwargs=WITHOUT_ROWID) as table:
        table.drop_column("chain_hash")
