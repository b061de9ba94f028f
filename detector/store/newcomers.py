"""The keys that were first seen in a period, each with what it did since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from detector.store.chosen import Chosen
from detector.store.filters import known_hosts
from detector.store.grouping import grouped
from detector.store.packed import Names
from detector.store.periods import SUMMED
from detector.store.sums import add_up
from detector.store.tables import connection_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from detector.store.filters import HistoryFilter
    from detector.store.grouping import Grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomers:
    """Keys that are new, in the order in which they came."""

    rows: Sequence[Mapping[str, Any]]
    """Each with its host, its columns (`first_seen` among them), its sums, and when it was seen last."""
    total_more: int
    """Older ones that are left out."""
    about: bool
    """Hours and days count whole of which only some snapshots match."""


def newcomers(connection: Connection, wanted: HistoryFilter, newest: int | None) -> Newcomers:
    """The keys that match and were first seen in the period.

    Args:
        connection: the transaction.
        wanted: what to look for; its period is that of the first time. What they did is added up to its end.
        newest: no more than so many of them; None: all.
    """
    rows: list[dict[str, Any]] = []
    about, total = False, 0
    for host_id, host in known_hosts(connection, wanted.host).items():
        chosen = Chosen.by(connection, host_id, replace(wanted, since=None), *_first_seen(wanted))
        # Of the others nothing need be added up, unless it is that which says whether they match.
        of_keys_alone = chosen.exact and chosen.origins is None and chosen.names is None
        if of_keys_alone and newest is not None and chosen.keys is not None:
            total += len(chosen.keys)
            chosen = replace(chosen, keys=_newest(connection, chosen, newest))
        (summed,) = add_up(connection, chosen, ("key_id",))
        about |= summed.about
        here = Names(connection, host_id).rows(
            {
                "host": host,
                "host_id": host_id,
                "key_id": key_id,
                "origin_id": None,
                "name_id": None,
                **dict(zip(SUMMED, sums.numbers, strict=True)),
                "handshake_us_max": sums.handshake_us_max,
                "last_seen": sums.last_seen,
                "peak_score": sums.peak_score,
            }
            for (key_id,), sums in summed.by.items()
        )
        rows += here
        total += 0 if of_keys_alone and newest is not None else len(here)
    rows.sort(key=lambda row: (row["first_seen"], row["host_id"], row["key_id"]))
    shown = rows if newest is None else rows[-newest:]
    return Newcomers(rows=shown, total_more=max(total - len(shown), 0), about=about)


def grouped_newcomers(connection: Connection, wanted: HistoryFilter, by: Sequence[str]) -> Grouped:
    """What the keys that are new add up to, by the values of fields; see `grouping.grouped`."""
    return grouped(connection, replace(wanted, since=None), by, more=_first_seen(wanted))


def _first_seen(wanted: HistoryFilter) -> list[ColumnElement[bool]]:
    first_seen = connection_keys.c.first_seen
    conditions = []
    if wanted.since is not None:
        conditions.append(first_seen >= wanted.since)
    if wanted.until is not None:
        conditions.append(first_seen < wanted.until)
    return conditions or [first_seen.is_not(None)]


def _newest(connection: Connection, chosen: Chosen, most: int) -> frozenset[int]:
    """Those of the chosen keys that came last."""
    keys = connection_keys.c
    statement = select(keys.key_id).where(*chosen.rolled(connection, connection_keys, counted=False))
    return frozenset(connection.scalars(statement.order_by(keys.first_seen.desc(), keys.key_id.desc()).limit(most)))
