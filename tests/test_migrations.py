"""The migrations make the tables that the code was written for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from detector.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Engine


def test_the_migrated_schema_is_that_of_the_tables(engine: Engine) -> None:
    """Tables, columns, types, keys and indexes: nothing is left to migrate, on SQLite and on Postgres."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
