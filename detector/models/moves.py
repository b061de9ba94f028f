"""How the threshold of a host has moved, as far as that is worth saying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select

from detector.domain import ThresholdMove
from detector.store.tables import model_adjustments

if TYPE_CHECKING:
    from datetime import datetime

    from detector.models.promise import Threshold

_WORTH_SAYING = 0.1
_KEPT = 100


def note(connection: Connection, host_id: int, at: datetime, threshold: Threshold) -> None:
    """Writes down where the threshold of a well known kind of time is, if it has moved since that was last done."""
    columns = model_adjustments.c
    of_host = columns.host_id == host_id
    row = connection.execute(
        select(columns.number, columns.surprise).where(of_host).order_by(columns.number.desc()).limit(1)
    ).first()
    number, before = (0, threshold.promised) if row is None else row
    if abs(before - threshold.usual) < _WORTH_SAYING:
        return
    values = {
        "host_id": host_id,
        "number": number + 1,
        "at": at,
        "surprise": threshold.usual,
        "observed": threshold.observed,
        "correction": threshold.correction,
    }
    connection.execute(insert(model_adjustments).values(values))
    connection.execute(delete(model_adjustments).where(of_host, columns.number <= number + 1 - _KEPT))


def latest(connection: Connection, host_id: int, *, promised: float, most: int) -> list[ThresholdMove]:
    """The last moves of a host's threshold, at most so many of those kept, the newest last; the first of all was from
    what was `promised`.
    """
    columns = model_adjustments.c
    rows = connection.execute(
        select(columns.at, columns.surprise, columns.observed, columns.correction)
        .where(columns.host_id == host_id)
        .order_by(columns.number.desc())
        .limit(most + 1)
    ).all()[::-1]
    moves, before = [], promised
    for at, after, observed, correction in rows:
        moves.append(ThresholdMove(at=at, before=before, after=after, observed=observed, correction=correction))
        before = after
    return moves[-most:]
