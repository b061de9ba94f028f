"""Indexes of what is mostly unknown hold what is known."""

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"

_INDEXES = (
    ("alerts", ("thread_id",)),
    ("notifications", ("channel", "failed_at")),
    ("notifications", ("notice_id",)),
)


def upgrade() -> None:
    """They are built anew of the rows that have the last of their columns."""
    for table, columns in _INDEXES:
        known = sa.text(f"{columns[-1]} IS NOT NULL")
        op.drop_index(_name(table, columns), table)
        op.create_index(_name(table, columns), table, columns, postgresql_where=known, sqlite_where=known)


def downgrade() -> None:
    """They are built anew of all rows."""
    for table, columns in _INDEXES:
        op.drop_index(_name(table, columns), table)
        op.create_index(_name(table, columns), table, columns)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"
