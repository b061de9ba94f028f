"""The named lists that rules compare with, so large that they cannot be part of a statement."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table

from detector.store.columns import UtcDateTime
from detector.store.tables.schema import metadata

# BLAKE2b-128 over what is in it: whoever has the same list finds it there, and what has changed is another list.
named_lists = Table(
    "named_lists",
    metadata,
    Column("digest", LargeBinary(16), primary_key=True),
    # When a rule last needed it, to a day.
    Column("used_at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)

# Ranges of bytes, sorted and apart, so that the last one that begins no later than a value is the only one that may
# hold it. Addresses are 16 bytes, names are UTF-8.
list_ranges = Table(
    "list_ranges",
    metadata,
    # Of `named_lists`; to have each row checked for it would take as long as the rows.
    Column("digest", LargeBinary(16), primary_key=True),
    Column("low", LargeBinary, primary_key=True),
    Column("high", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
