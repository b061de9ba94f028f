"""Writes what the models said of a snapshot's counts."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert

from detector.domain import Observation
from detector.store import bulk
from detector.store.packing_observations import pack_observations
from detector.store.tables import observations, packed_observations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import SnapshotRef
    from detector.store.packed import PackedSnapshot


_FIELDS = tuple(field.name for field in fields(Observation))
_values = attrgetter(*_FIELDS)


def write(
    connection: Connection, snapshot: SnapshotRef, packed: PackedSnapshot, observed: Sequence[Observation]
) -> None:
    """Stores what was said of the counts of a packed snapshot: packed, to last as long, and in rows for the rules."""
    place = {"host_id": snapshot.host_id, "seq": snapshot.seq}
    said = {(each.key_id, each.session): each for each in observed}
    places = zip(packed.counts["key_id"], packed.counts["session"], strict=True)
    content = pack_observations([said.get(where) for where in places])
    if content is not None:
        connection.execute(insert(packed_observations), place | {"end": snapshot.end, "content": content})
        bulk.add(
            connection,
            observations,
            ("host_id", "seq", *_FIELDS),
            ((snapshot.host_id, snapshot.seq, *_values(each)) for each in observed),
        )
