"""What the snapshots of a host add up to, for good."""

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"

LOST = (
    "lost_attempted",
    "lost_established",
    "lost_refused",
    "lost_timed_out",
    "lost_failed",
    "lost_inbound",
    "lost_pending_full",
    "lost_unmatched",
    "lost_unnamed",
    "lost_unread",
    "lost_missed",
    "lost_folded",
    "lost_unnumbered",
    "lost_names",
    "lost_snapshots",
)
BLIND = "(COALESCE(self_test_passed, true) = false OR blind_since IS NOT NULL)"
# What each total is of a snapshot, as it is worked out when one is detected. Rows, attempts and findings are packed, or
# gone: they begin with what comes.
PARTS = {
    "snapshots": "1",
    "incomplete": f"CASE WHEN {' + '.join(LOST)} > 0 OR {BLIND} OR gap_seconds <> 0 THEN 1 ELSE 0 END",
    "blind": f"CASE WHEN {BLIND} THEN 1 ELSE 0 END",
    "late": "CASE WHEN late_seconds <> 0 THEN 1 ELSE 0 END",
    "waited": "CASE WHEN waited_seconds <> 0 THEN 1 ELSE 0 END",
    "clock_steps": "CASE WHEN clock_step_seconds <> 0 THEN 1 ELSE 0 END",
    "gap_seconds": "gap_seconds",
    "suspended_seconds": "suspended_seconds",
    **{name: name for name in LOST},
}


def upgrade() -> None:
    """Begins with the snapshots that detection has seen and that are still there."""
    op.create_table(
        "host_totals",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.host_id"], name=op.f("fk_host_totals_host_id")),
        sa.PrimaryKeyConstraint("host_id", "name", name=op.f("pk_host_totals")),
        sqlite_with_rowid=False,
    )
    for name, part in PARTS.items():
        op.execute(
            f"INSERT INTO host_totals (host_id, name, total) SELECT s.host_id, '{name}', SUM({part})"
            " FROM snapshots s JOIN detection_cursors c ON c.host_id = s.host_id AND s.seq <= c.seq"
            f" GROUP BY s.host_id HAVING SUM({part}) > 0"
        )


def downgrade() -> None:
    """An older version adds nothing up."""
    op.drop_table("host_totals")
