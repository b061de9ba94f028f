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

# What is said here loads nothing of Postgres, which in each collector and each command would take 3 MB and 50 ms. Its
# migrations say the rest: what grows with time is in parts by time there, so that what has expired is dropped and not
# deleted (that is why the time is part of the keys), and some indexes are of some rows.

OUTCOMES = ("attempted", "established", "refused", "timed_out", "failed")
"""Of each the counts have a column."""


class Words(String):
    """Text that is one of a few words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        super().__init__(max(map(len, words)))
        self.words = words


def text_enum(values: type[StrEnum]) -> Words:
    """Text that is one of the values."""
    return Words(tuple(each.value for each in values))
