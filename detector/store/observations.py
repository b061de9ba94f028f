"""Writes what the models said of a snapshot's counts."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert

from detector.domain import Observation
from detector.store.tables import observations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.domain import SnapshotRef


_FIELDS = tuple(field.name for field in fields(Observation))


def write(connection: Connection, snapshot: SnapshotRef, observed: Sequence[Observation]) -> None:
    """Stores one row for each observation, beside the count that it is about."""
    if observed:
        place = {"host_id": snapshot.host_id, "seq": snapshot.seq}
        connection.execute(
            insert(observations),
            [place | {name: getattr(each, name) for name in _FIELDS} for each in observed],
        )
