"""What the snapshots of a host add up to, for good: no retention takes anything from it."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, String, Table

from detector.store.tables.schema import metadata

# Advanced with the cursor of detection, so that each snapshot is in it once. What was never more than 0 is missing.
host_totals = Table(
    "host_totals",
    metadata,
    Column("host_id", ForeignKey("hosts.host_id"), primary_key=True),
    # See detector.store.totals.NAMES.
    Column("name", String(32), primary_key=True),
    # Counts and seconds: whole numbers are exact up to 2**53.
    Column("total", Double, nullable=False),
    sqlite_with_rowid=False,
)
