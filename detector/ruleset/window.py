"""Which of a host's snapshots are in a window, and which have left it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from detector.ruleset.events import AFTER, HOST_ID, SEQ, UNTIL
from detector.store.tables import snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from sqlalchemy import Connection

    from detector.domain import SnapshotRef

# Of a bare seq SQLite would go through all of the host's snapshots; "+ 0" leaves it the index over their ends.
_ENDED = and_(
    snapshots.c.host_id == HOST_ID, snapshots.c.seq + 0 <= SEQ, snapshots.c.end > AFTER, snapshots.c.end <= UNTIL
)
_IN_WINDOW = select(func.min(snapshots.c.seq + 0), func.count()).where(_ENDED)
_SEQS_ENDED = select(snapshots.c.seq).where(_ENDED).order_by(snapshots.c.seq)
_ANY_ENDED = _SEQS_ENDED.limit(1)


@dataclass(frozen=True, slots=True)
class Window:
    """The host's snapshots that end after a snapshot's end less a timespan, no later than it, and that were written no
    later: the same whenever it is looked at."""

    place: Mapping[str, Any]
    """What statements over it are asked with."""
    first_seq: int
    unbroken: bool
    """Its snapshots are all between its first and its last number. They are, unless the clock was set back."""


def read_window(connection: Connection, snapshot: SnapshotRef, timespan: timedelta) -> Window:
    """The window of a timespan that ends with a snapshot."""
    place: dict[str, Any] = {"host_id": snapshot.host_id, "seq": snapshot.seq}
    place |= {"after": snapshot.end - timespan, "until": snapshot.end}
    first_seq, number = connection.execute(_IN_WINDOW, place).one()
    return Window(place | {"first_seq": first_seq}, first_seq, snapshot.seq - first_seq + 1 == number)


def left_between(connection: Connection, seq: int, before: Window, window: Window) -> list[tuple[int, int]] | None:
    """The snapshots that were in a window and have left it since, as the first and the last of each run of them.

    None: it is not what it was, less those, and more the snapshots after `seq`; or some have left that came after
    others which have not, so that the first that is left does not tell them apart.

    Args:
        connection: the transaction.
        seq: the snapshot that the window ended with before.
        before: the window as it was then.
        window: as it is.
    """
    if before.unbroken and window.unbroken:
        if window.first_seq < before.first_seq:
            return None
        return [(before.first_seq, window.first_seq - 1)] if window.first_seq > before.first_seq else []
    # What another worker has looked at meanwhile may or may not be in it.
    if window.place["seq"] != seq + 1 or window.place["until"] < before.place["until"]:
        return None
    asked = {"host_id": window.place["host_id"], "seq": seq}
    came = {"after": before.place["until"], "until": window.place["until"]}
    if connection.scalar(_ANY_ENDED, asked | came) is not None:
        return None
    went = {"after": before.place["after"], "until": window.place["after"]}
    gone = list(connection.scalars(_SEQS_ENDED, asked | went))
    if gone and gone[-1] >= window.first_seq:
        return None
    begins = [each for last, each in pairwise([-1, *gone]) if each != last + 1]
    ends = [each for each, following in pairwise([*gone, -1]) if following != each + 1]
    return list(zip(begins, ends, strict=True))
