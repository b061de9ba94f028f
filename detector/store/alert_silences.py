"""What people want to hear nothing of for a while: silences, and how many alerts each has muted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from detector.matchers import Matcher, as_stored, from_stored
from detector.store.columns import storable
from detector.store.tables import alert_silences

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A temporary mute: alerts that all of its matchers hold for are stored, and nobody is told."""

    silence_id: int
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    author: str
    reason: str
    created_at: datetime
    expired_by: str | None
    """Who has ended it before its time."""


def add(
    connection: Connection,
    matchers: Sequence[Matcher],
    *,
    starts_at: datetime,
    ends_at: datetime,
    author: str,
    reason: str,
    now: datetime,
) -> int:
    """Writes a silence; returns its number."""
    values = {"author": storable(author), "reason": storable(reason)}
    number: int | None = connection.scalar(
        insert(alert_silences)
        .values(matchers=as_stored(matchers), starts_at=starts_at, ends_at=ends_at, created_at=now, **values)
        .returning(alert_silences.c.silence_id)
    )
    assert number is not None  # noqa: S101  a row that was written has one
    return number


def read(connection: Connection, silence_id: int) -> Silence | None:
    """One silence; None when there is none of that number."""
    row = connection.execute(select(alert_silences).where(alert_silences.c.silence_id == silence_id)).first()
    return None if row is None else _silence(row)


def list_silences(connection: Connection, *, ending_after: datetime | None = None, limit: int = 1000) -> list[Silence]:
    """The silences that end last first; without those that have ended by a moment."""
    statement = select(alert_silences).order_by(alert_silences.c.ends_at.desc(), alert_silences.c.silence_id.desc())
    if ending_after is not None:
        statement = statement.where(alert_silences.c.ends_at > ending_after)
    return [_silence(row) for row in connection.execute(statement.limit(limit))]


def expire(connection: Connection, silence_id: int, *, author: str, now: datetime) -> bool:
    """Ends a silence; False: it has ended already."""
    columns = alert_silences.c
    changed = connection.execute(
        update(alert_silences)
        .where(columns.silence_id == silence_id, columns.ends_at > now)
        .values(ends_at=now, expired_by=storable(author))
    )
    return changed.rowcount > 0


def forget(connection: Connection, *, before: datetime) -> None:
    """Deletes those that had ended by a moment."""
    connection.execute(alert_silences.delete().where(alert_silences.c.ends_at < before))


def _silence(row: Row[Any]) -> Silence:
    return Silence(**{**row._mapping, "matchers": from_stored(row.matchers)})
