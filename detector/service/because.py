"""Explains rows of the past: finds them, and what their snapshots were."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from detector.domain import SnapshotRef
from detector.errors import DetectorError
from detector.models.because import Explainer
from detector.store.alerts import alert_rows, read_alert
from detector.store.packed import Names, read_one
from detector.store.snapshots import stored_counts
from detector.store.strangest import strangest_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from detector import config
    from detector.models.because import Because
    from detector.store.filters import HistoryFilter


_NAMELESS = {"origin_id": None, "name_id": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A row, and why it is as strange as it is."""

    row: Mapping[str, Any]
    """As `history.find` gives it."""
    because: Because
    example: Mapping[str, Any] | None
    """The key of the closest normal row, with the names of rows; None: it is stored no more."""


def explained(connection: Connection, wanted: HistoryFilter, limit: int, settings: config.Models) -> list[Explained]:
    """The `limit` strangest rows that match, the strangest first."""
    return _explain(connection, strangest_rows(connection, wanted, limit), settings)


def explained_alert(connection: Connection, alert_id: int, limit: int, settings: config.Models) -> list[Explained]:
    """The first `limit` rows behind an alert, less those that were not scored.

    Raises:
        DetectorError: there is no such alert.
    """
    if read_alert(connection, alert_id) is None:
        raise DetectorError(f"there is no alert {alert_id}", hint="see: detector alerts list")
    rows = [row for row in alert_rows(connection, alert_id, limit) if row["score"] is not None]
    return _explain(connection, rows, settings)


def _explain(connection: Connection, rows: Sequence[Mapping[str, Any]], settings: config.Models) -> list[Explained]:
    found: dict[int, Explained] = {}
    numbered = sorted(enumerate(rows), key=lambda each: (each[1]["host_id"], each[1]["seq"]))
    for host_id, of_host in groupby(numbered, key=lambda each: each[1]["host_id"]):
        explainer = Explainer(connection, host_id, settings)
        for _, of_snapshot in groupby(of_host, key=lambda each: each[1]["seq"]):
            found.update(_of_snapshot(connection, explainer, list(of_snapshot)))
    return [found[number] for number in sorted(found)]


def _of_snapshot(
    connection: Connection, explainer: Explainer, rows: Sequence[tuple[int, Mapping[str, Any]]]
) -> Iterator[tuple[int, Explained]]:
    first = rows[0][1]
    host_id = first["host_id"]
    snapshot = SnapshotRef(
        host_id=host_id, host=first["host"], seq=first["seq"], start=first["start"], end=first["end"]
    )
    packed = read_one(connection, snapshot)
    if packed is None:
        return
    counts = stored_counts(connection, host_id, packed)
    places = {(each.key_id, each.count.session): number for number, each in enumerate(counts)}
    wanted = [places[row["key_id"], row["session"]] for _, row in rows]
    for (number, row), because in zip(rows, explainer.explain(snapshot, counts, wanted), strict=True):
        example = [] if because.example is None else [_NAMELESS | {"key_id": because.example.key_id}]
        keys = Names(connection, host_id).rows(example)
        yield number, Explained(row=row, because=because, example=keys[0] if keys else None)
