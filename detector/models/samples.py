"""The rows that the isolation forest is trained on: a bounded sample, kept up to date as snapshots come in.

Features are kept as they were when the row was scored, since they cannot be made again from the counts: how familiar a
thing is changes. The sample is stratified by snapshot, so that one busy moment cannot fill it, and older rows give way
at random (Aggarwal, "On biased reservoir sampling", VLDB 2006), by a hash, so that every worker keeps the same.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, select

from detector.models.features import FEATURES
from detector.store import bulk
from detector.store.tables import model_samples

if TYPE_CHECKING:
    import numpy.typing as npt

_FROM_ONE_SNAPSHOT = 64
_MEMORY = 8  # a row stays on average while this many times the sample's size are offered after it


def offer(connection: Connection, host_id: int, rows: npt.NDArray[np.float32], *, offered: int, capacity: int) -> int:
    """Offers a snapshot's rows (n, len(FEATURES)) to the sample; evenly spread ones when there are many.

    Args:
        connection: the transaction.
        host_id: whose rows they are.
        rows: in a fixed order.
        offered: rows of this host offered before.
        capacity: the size of the sample.

    Returns:
        Rows offered, these included.
    """
    count = min(len(rows), _FROM_ONE_SNAPSHOT)
    chosen = rows[np.arange(count) * len(rows) // max(count, 1)]
    taken: dict[int, bytes] = {}
    for number, row in enumerate(chosen, start=offered):
        slot = number if number < capacity else _draw(number) % min(number + 1, _MEMORY * capacity)
        if slot < capacity:
            taken[slot] = row.astype("<f4").tobytes()
    kept = [(host_id, slot, features) for slot, features in taken.items()]
    bulk.upsert(connection, model_samples, ("host_id", "slot", "features"), kept)
    return offered + count


def read(connection: Connection, host_id: int, *, capacity: int) -> npt.NDArray[np.float32]:
    """The sample, (n, len(FEATURES)), n at most `capacity`."""
    columns = model_samples.c
    found = connection.scalars(
        select(columns.features).where(columns.host_id == host_id, columns.slot < capacity).order_by(columns.slot)
    )
    raw = b"".join(bytes(each) for each in found)
    return np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(-1, len(FEATURES))


def _draw(number: int) -> int:
    return int.from_bytes(blake2b(number.to_bytes(8, "big"), digest_size=8).digest(), "big")
