"""What is stored of a host's past, and which parts of it may matter: the words for it, and its ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import TIMESTAMP, BigInteger, LargeBinary, func, select, type_coerce

from detector.store.columns import Address
from detector.store.tables import hosts, snapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection

# To go on reading for so many snapshots is quicker than to begin anew.
_NEAR = 100

Span = tuple[int, int]
"""The first and the last number of snapshots that follow each other."""
Time = tuple[datetime, datetime]
"""After, and until."""
Keys = dict[int, tuple[Any, ...]]
"""By number what each is grouped by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What is stored of a host in a period."""

    first: int
    last: int
    snapshots: int
    start: datetime
    earliest: datetime
    """When the first of them ended."""
    end: datetime
    longest: timedelta
    """The longest snapshot."""
    created_at: datetime
    """When the host became known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded:
    """What has to come together somewhere within a time; see `ruleset.sought.Crowd`."""

    threshold: int
    timespan: timedelta
    group: Sequence[ColumnElement[Any]]
    value: ColumnElement[Any] | None
    sums: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Conditions on what tells of a past; see `ruleset.sought.Sought`."""

    host_id: int
    of_key: ColumnElement[bool]
    of_hour: ColumnElement[bool]
    hours_say_more: bool
    crowd: Crowded | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Snapshots to be read, and the keys whose rows may matter there."""

    keys: frozenset[int]
    spans: Sequence[Span]
    """In order; no two overlap."""


def extent(
    connection: Connection, host_id: int, since: datetime | None, until: datetime | None, span: Span | None = None
) -> Extent | None:
    """What is stored of a host's snapshots that ended in a period, and are in a span; None: nothing is."""
    seq, start, end = snapshots.c.seq, snapshots.c.start, snapshots.c.end
    of_host = [snapshots.c.host_id == host_id]
    of_host += [] if since is None else [end > since]
    of_host += [] if until is None else [end <= until]
    of_host += [] if span is None else [seq.between(*span)]
    kind = TIMESTAMP(timezone=True) if connection.dialect.name == "postgresql" else BigInteger()
    length = func.max(type_coerce(end, kind) - type_coerce(start, kind))
    # "+ 0" leaves SQLite the index over ends.
    columns = (
        func.min(seq + 0),
        func.max(seq + 0),
        func.count(),
        func.min(start),
        func.min(end),
        func.max(end),
        length,
    )
    first, last, number, oldest, earliest, latest, longest = connection.execute(select(*columns).where(*of_host)).one()
    if first is None:
        return None
    created_at = connection.scalar(select(hosts.c.created_at).where(hosts.c.host_id == host_id))
    return Extent(
        first=first,
        last=last,
        snapshots=number,
        start=oldest,
        earliest=earliest,
        end=latest,
        longest=longest if isinstance(longest, timedelta) else timedelta(microseconds=longest),
        created_at=created_at or oldest,
    )


def windows_begin(connection: Connection, host_id: int, ends: Span, earliest: datetime, latest: datetime) -> int:
    """The first snapshot of the windows of a span's snapshots.

    Args:
        connection: the transaction.
        host_id: whose.
        ends: the first and the last snapshot that a window ends with.
        earliest: windows begin after it.
        latest: when the last of the snapshots ended.
    """
    # "+ 0" leaves SQLite the index over ends.
    seq, end = snapshots.c.seq + 0, snapshots.c.end
    first = connection.scalar(
        select(func.min(seq)).where(snapshots.c.host_id == host_id, end > earliest, end <= latest, seq <= ends[1])
    )
    return ends[0] if first is None else min(first, ends[0])


def spans_of(connection: Connection, host_id: int, times: Iterable[Time], within: Span) -> list[Span]:
    """The snapshots that ended in these times, and those between them; as far as they are within a span."""
    seq, end = snapshots.c.seq + 0, snapshots.c.end
    spans: list[Span] = []
    for after, until in _merged(times):
        first, last = connection.execute(
            select(func.min(seq), func.max(seq)).where(snapshots.c.host_id == host_id, end > after, end <= until)
        ).one()
        if first is not None and max(first, within[0]) <= min(last, within[1]):
            spans.append((max(first, within[0]), min(last, within[1])))
    return _joined(spans)


def plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column as the database has it: an address need not be made of its bytes."""
    return type_coerce(column, LargeBinary) if isinstance(column.type, Address) else column


def _merged(times: Iterable[Time]) -> list[Time]:
    """Times that do not overlap, of some that may."""
    merged: list[Time] = []
    for after, until in sorted(times):
        if merged and after <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((after, until))
    return merged


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans that are not near each other, of some that may be."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + _NEAR:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
