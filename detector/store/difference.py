"""What two periods do not have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from detector.store.grouping import grouped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from detector.store.filters import HistoryFilter
    from detector.store.grouping import Group

Period = tuple["datetime | None", "datetime | None"]
"""After the one, and up to the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is in one of two periods alone."""

    new: Sequence[Group]
    """Only in the second."""
    gone: Sequence[Group]
    """Only in the first."""
    both: int
    """How many are in both."""
    whole: bool
    """Some hours or days count whole though a period cuts them in two."""


def difference(
    connection: Connection, wanted: HistoryFilter, before: Period, after: Period, by: Sequence[str]
) -> Difference:
    """Compares what matches in two periods.

    Args:
        connection: the transaction.
        wanted: what to look for, whenever it was.
        before: the first period.
        after: the second period.
        by: names of grouping.FIELDS: what is the same in all of them is the same.
    """
    first, second = (
        grouped(connection, replace(wanted, since=since, until=until), by) for since, until in (before, after)
    )
    was, now = ({group.place: group for group in found.groups} for found in (first, second))
    return Difference(
        new=[group for values, group in now.items() if values not in was],
        gone=[group for values, group in was.items() if values not in now],
        both=len(was.keys() & now.keys()),
        whole=first.whole or second.whole,
    )
