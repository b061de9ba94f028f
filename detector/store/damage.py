"""Snapshots whose rows turn out to be damaged when they are read: they are passed over, and told at the end.

Detection counts what it cannot read of a snapshot as lost, once; see `detector.pipeline`. Whoever reads later must not
be kept from all others by one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOUND = "detector_damaged"


def noted() -> dict[str, set[tuple[int, int]]]:
    """The execution options of a transaction that remembers what was damaged."""
    return {_FOUND: set()}


def note(connection: Connection, host_id: int, seq: int) -> None:
    """Remembers, for as long as the transaction, that a host's snapshot is passed over."""
    found = connection.get_execution_options().get(_FOUND)
    if found is not None:
        found.add((host_id, seq))


def passed_over(connection: Connection) -> int:
    """How many snapshots could not be read, or what detection says of them, since the transaction began."""
    return len(connection.get_execution_options().get(_FOUND, ()))
