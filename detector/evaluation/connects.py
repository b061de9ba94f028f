"""Single connects, and the snapshots that they become: what is generated, planted and played is made of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from detector.domain import CaptureHealth, ConnectionCount, ConnectionKey, IPAddress, Outcome, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Place = tuple[ConnectionKey, int]
"""A row of a snapshot: its key and login session."""

_LOGGED_IN = "logind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """One connect, or one flow of a protocol without connections."""

    at: float
    """Seconds since 1970; of an attack that is yet to be placed, since its first connect."""
    key: ConnectionKey
    outcome: Outcome | None
    """None: of a protocol without connections."""
    session: int = 0
    login_address: IPAddress | None = None


@dataclass(slots=True)
class _Row:
    """What a place counted."""

    attempted: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    login_address: IPAddress | None = None


def counted(connects: Iterable[Connect]) -> tuple[ConnectionCount, ...]:
    """The rows that these connects are in one snapshot, in the order of their first."""
    rows: dict[Place, _Row] = defaultdict(_Row)
    for each in connects:
        row = rows[each.key, each.session]
        row.attempted += 1
        row.login_address = each.login_address
        if each.outcome is not None:
            row.outcomes[each.outcome] += 1
    return tuple(_count(*place, row) for place, row in rows.items())


def _count(key: ConnectionKey, session: int, row: _Row) -> ConnectionCount:
    return ConnectionCount(
        key=key,
        session=session,
        login_address=row.login_address,
        login_source=_LOGGED_IN if row.login_address is not None else None,
        attempted=row.attempted,
        established=row.outcomes[Outcome.ESTABLISHED],
        refused=row.outcomes[Outcome.REFUSED],
        timed_out=row.outcomes[Outcome.TIMED_OUT],
        failed=row.outcomes[Outcome.FAILED],
    )


def snapshots_of(
    connects: Iterable[Connect],
    *,
    host: str,
    start: float,
    end: float,
    seconds: int,
    stops: Sequence[tuple[float, float]] = (),
) -> Iterator[Snapshot]:
    """The snapshots of a host from `start` to `end`, those in which nothing happened included.

    Args:
        connects: in the order of time; those outside of the period are passed over.
        host: whose they are.
        start: seconds since 1970, where the first snapshot begins.
        end: where the last one ends at the latest.
        seconds: the length of each.
        stops: times in which nothing was counted: snapshots within them are missing, the one before says that the
            collector stopped.
    """
    waiting = iter(connects)
    next_one = next(waiting, None)
    begin, last = start, None
    while begin + seconds <= end:
        until = begin + seconds
        within: list[Connect] = []
        while next_one is not None and next_one.at < until:
            if next_one.at >= begin:
                within.append(next_one)
            next_one = next(waiting, None)
        stopped = any(low <= begin and until <= high for low, high in stops)
        if last is not None:
            yield replace(last, health=CaptureHealth(stopped=True)) if stopped else last
        last = None if stopped else _snapshot(host, begin, seconds, counted(within))
        begin = until
    if last is not None:
        yield last


def _snapshot(host: str, begin: float, seconds: int, counts: tuple[ConnectionCount, ...]) -> Snapshot:
    start = datetime.fromtimestamp(begin, UTC)
    return Snapshot(host=host, start=start, end=start + timedelta(seconds=seconds), counts=counts)


def joined(counts: Iterable[ConnectionCount]) -> tuple[ConnectionCount, ...]:
    """The same rows, those of one key and session added up."""
    rows: dict[Place, ConnectionCount] = {}
    for each in counts:
        place = (each.key, each.session)
        known = rows.get(place)
        rows[place] = each if known is None else _added(known, each)
    return tuple(rows.values())


def _added(one: ConnectionCount, other: ConnectionCount) -> ConnectionCount:
    return replace(
        one,
        attempted=one.attempted + other.attempted,
        established=one.established + other.established,
        refused=one.refused + other.refused,
        timed_out=one.timed_out + other.timed_out,
        failed=one.failed + other.failed,
        handshake_us_total=one.handshake_us_total + other.handshake_us_total,
        handshake_us_max=max(one.handshake_us_max, other.handshake_us_max),
        login_address=one.login_address or other.login_address,
        login_source=one.login_source or other.login_source,
        remote_name=one.remote_name or other.remote_name,
        remote_name_source=one.remote_name_source or other.remote_name_source,
        remote_country=one.remote_country or other.remote_country,
        remote_network=one.remote_network or other.remote_network,
    )


def by_snapshot(
    connects: Iterable[Connect], snapshots: Sequence[Snapshot]
) -> Mapping[int, tuple[ConnectionCount, ...]]:
    """The rows of connects, by the index of the snapshot they fall into; what falls into none is left out.

    Args:
        connects: in the order of time.
        snapshots: in the order of time.
    """
    found: dict[int, list[Connect]] = defaultdict(list)
    index = 0
    for each in connects:
        while index < len(snapshots) and snapshots[index].end.timestamp() <= each.at:
            index += 1
        if index == len(snapshots):
            break
        if snapshots[index].start.timestamp() <= each.at:
            found[index].append(each)
    return {index: counted(each) for index, each in found.items()}


def mixed(snapshot: Snapshot, counts: tuple[ConnectionCount, ...]) -> Snapshot:
    """A snapshot in which these rows happened too."""
    return replace(snapshot, counts=joined((*snapshot.counts, *counts)))
