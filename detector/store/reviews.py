"""What people answered when they were asked what is normal for a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, select

from detector.domain import ReviewAnswer
from detector.store import bulk
from detector.store.tables import connection_keys, model_reviews

if TYPE_CHECKING:
    from datetime import datetime


def answer(
    connection: Connection, host_id: int, key_id: int, said: ReviewAnswer | None, *, author: str, now: datetime
) -> bool:
    """Writes an answer about a key, in place of the one before; None takes it back. False: there is no such key."""
    keys = connection_keys.c
    digest = connection.scalar(select(keys.digest).where(keys.host_id == host_id, keys.key_id == key_id))
    if digest is None:
        return False
    # By what the key is: its number is another one when it expires and comes again.
    if said is None:
        this = (model_reviews.c.host_id == host_id) & (model_reviews.c.digest == digest)
        connection.execute(delete(model_reviews).where(this))
        return True
    values = {"host_id": host_id, "digest": bytes(digest), "answer": said.value, "author": author, "at": now}
    bulk.upsert(connection, model_reviews, tuple(values), [tuple(values.values())])
    return True


def answers(connection: Connection, host_id: int) -> dict[int, tuple[ReviewAnswer, str, datetime]]:
    """What was answered about the keys of a host that are still there, by number: the answer, who, and when."""
    said, keys = model_reviews.c, connection_keys.c
    rows = connection.execute(
        select(keys.key_id, said.answer, said.author, said.at)
        .join(connection_keys, (keys.host_id == said.host_id) & (keys.digest == said.digest))
        .where(said.host_id == host_id)
    )
    return {key_id: (ReviewAnswer(value), author, at) for key_id, value, author, at in rows}
