"""Reads and writes the state of subjects: each is found by its digest, in a block with others of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from detector.models.layout import BLOCK
from detector.store import bulk
from detector.store.tables import model_blocks, model_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from detector.models.memory import Memory

# SQLite accepts 32,766 bound parameters a statement (since 3.32), Postgres 65,535.
_LOOKUP_BATCH = 1000


def read(connection: Connection, host_id: int, memory: Memory, numbers: Sequence[int]) -> None:
    """Takes into memory what the store has of subjects, and with it what stands in the same blocks."""
    index, stored = model_subjects.c, model_blocks.c
    wanted: set[int] = set()
    for start in range(0, len(numbers), _LOOKUP_BATCH):
        digests = [memory.digest(number) for number in numbers[start : start + _LOOKUP_BATCH]]
        found = connection.scalars(
            select(index.number).where(index.host_id == host_id, bulk.among(connection, index.subject, digests))
        )
        wanted.update(number // BLOCK for number in found)
    if not wanted:
        return
    rows = connection.execute(
        select(stored.block, stored.kind, stored.content)
        .where(stored.host_id == host_id, bulk.among(connection, stored.block, wanted))
        .order_by(stored.kind, stored.block)
    )
    by_kind: dict[str, tuple[list[int], list[bytes]]] = {}
    for block, kind, content in rows:
        of_kind = by_kind.setdefault(kind, ([], []))
        of_kind[0].append(block)
        of_kind[1].append(bytes(content))
    for kind, (some, contents) in by_kind.items():
        memory.fill(kind, some, contents)


def write(
    connection: Connection,
    host_id: int,
    memory: Memory,
    changed: npt.NDArray[np.int64],
    new: npt.NDArray[np.int64],
) -> list[bytes]:
    """Writes the blocks in which something has changed; gives those that are `new` a place first.

    Returns:
        What was written.
    """
    if len(new):
        last = connection.scalar(select(func.max(model_blocks.c.block)).where(model_blocks.c.host_id == host_id))
        memory.settle(new, 0 if last is None else last + 1)
        places = zip(new.tolist(), memory.places(new), strict=True)
        rows = [(host_id, memory.digest(number), place) for number, place in places]
        bulk.upsert(connection, model_subjects, ("host_id", "subject", "number"), rows)
    names = ("host_id", "block", "kind", "places", "content")
    # In order, so that the mark does not depend on what else is in memory.
    written = [(host_id, *block) for block in sorted(memory.blocks(changed))]
    bulk.upsert(connection, model_blocks, names, written)
    return [content for *_, content in written]
