"""Finds the strangest rows of the past."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from detector.store.chosen import Chosen
from detector.store.filters import known_hosts
from detector.store.matching import matching_rows, span_of, whole_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from detector.store.filters import HistoryFilter
    from detector.store.packed import PackedSnapshot


def strangest_rows(connection: Connection, wanted: HistoryFilter, limit: int) -> list[Mapping[str, Any]]:
    """The `limit` rows of the largest surprise that match, over all hosts, the strangest first; of what is stored by
    snapshot.

    Rows are as `history.find` gives them, with `host_id`, `seq` and `key_id`. What has no score is left out: `wanted`
    has to ask for a score.
    """
    best: list[tuple[float, int, int, int, PackedSnapshot]] = []
    names = known_hosts(connection, wanted.host)
    for host_id in names:
        chosen, span = Chosen.by(connection, host_id, wanted), span_of(connection, host_id, wanted)
        if span is None:
            continue
        for snapshot, rows in matching_rows(connection, chosen, span):
            for row in rows:
                # No two are alike, so that snapshots are never compared.
                hit = (float(snapshot.observed(row)["surprise"]), -host_id, snapshot.seq, row, snapshot)
                if len(best) < limit:
                    heapq.heappush(best, hit)
                else:
                    heapq.heappushpop(best, hit)
    return [
        row
        for _, host_id, _, number, snapshot in sorted(best, reverse=True)
        for row in whole_rows(connection, -host_id, names[-host_id], [(snapshot, [number])])
    ]
