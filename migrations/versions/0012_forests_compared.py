"""How forests did beside others, whose turn it is to train, and what the rows of the sample stand for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012"
down_revision: str | None = "0011"

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Forests keep what they are. The sample is gathered anew: what its rows stand for is not known, and the forests in
    force do without it.
    """
    op.create_table(
        "model_trainings",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("trained_seconds", sa.Double(), nullable=True),
        sa.Column("tried_at", MOMENT, nullable=True),
        sa.Column("obstacle", sa.Text(), nullable=True),
        sa.Column("claimed_until", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_model_trainings_host_id")),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_model_trainings")),
    )
    op.execute(
        "INSERT INTO model_trainings (host_id, trained_seconds) SELECT host_id, trained_seconds FROM model_hosts"
        " WHERE trained_seconds IS NOT NULL"
    )
    op.drop_column("model_hosts", "trained_seconds")
    op.drop_column("model_hosts", "offered")
    op.drop_table("model_samples")
    op.create_table(
        "model_samples",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.BigInteger(), nullable=False),
        sa.Column("layout", sa.BigInteger(), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "slot", name=op.f("pk_model_samples")),
        sqlite_with_rowid=False,
    )
    op.add_column("models", sa.Column("trained_from", MOMENT, nullable=True))
    op.add_column("models", sa.Column("trained_until", MOMENT, nullable=True))
    op.add_column("models", sa.Column("figures", sa.JSON(), nullable=True))
    op.add_column("models", sa.Column("state", sa.String(16), server_default="replaced", nullable=False))
    op.execute("ALTER TABLE models RENAME COLUMN fault TO reason")
    op.execute(
        "UPDATE models SET state = CASE WHEN reason IS NULL THEN 'in_force' ELSE 'faulty' END"
        " WHERE version = (SELECT max(other.version) FROM models AS other WHERE other.host_id = models.host_id)"
    )


def downgrade() -> None:
    """The newest forest is in force in older versions: those that are not, though newer, go."""
    op.execute(
        "DELETE FROM models WHERE state <> 'in_force' AND version >"
        " (SELECT other.version FROM models AS other WHERE other.host_id = models.host_id AND other.state = 'in_force')"
    )
    op.execute("UPDATE models SET reason = NULL WHERE state <> 'faulty'")
    op.execute("ALTER TABLE models RENAME COLUMN reason TO fault")
    for name in ("state", "figures", "trained_until", "trained_from"):
        op.drop_column("models", name)
    op.drop_table("model_samples")
    op.create_table(
        "model_samples",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "slot", name=op.f("pk_model_samples")),
        sqlite_with_rowid=False,
    )
    op.add_column("model_hosts", sa.Column("offered", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("model_hosts", sa.Column("trained_seconds", sa.Double(), nullable=True))
    op.execute(
        "UPDATE model_hosts SET trained_seconds ="
        " (SELECT trained_seconds FROM model_trainings WHERE model_trainings.host_id = model_hosts.host_id)"
    )
    op.drop_table("model_trainings")
