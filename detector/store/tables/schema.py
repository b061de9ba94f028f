"""What all tables share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import MetaData, String

if TYPE_CHECKING:
    from enum import StrEnum

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# What grows with time is in parts by time on Postgres, so that what has expired is dropped and not deleted; that is why
# the time is part of the keys.
BY_END = 'RANGE ("end")'
BY_START = 'RANGE ("start")'

OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")
"""Of each the counts have a column."""


def text_enum(values: type[StrEnum]) -> String:
    """Text as long as the longest of the values."""
    return String(max(len(v.value) for v in values))
