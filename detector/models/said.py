"""What people said of keys, in reviews and of alerts, and what becomes of their rows.

What is not normal is unusual whenever it is met, and is not learnt: neither what it does nor how much. What is benign
surprises nobody by what it is, and is learnt like all else; it surprises by how much it does, if that is a power of ten
rarer than what the person saw: a verdict on a backup is none on a hundred backups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, select

from detector.domain import ReviewAnswer, Verdict
from detector.store import bulk
from detector.store.tables import alert_verdict_keys, alert_verdicts, connection_keys, model_reviews

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy.typing as npt

    from detector.domain import Observation, StoredCount


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a person said of a key."""

    normal: bool
    level: float
    """If it is normal: the largest surprise that the person saw. If not: from which surprise on; 0: always."""
    author: str
    at: datetime
    alert_id: int | None
    """Of which alert it was said; None: in a review."""

    def refuses(self, surprise: float) -> bool:
        """Whether a row of this surprise is not normal."""
        return not self.normal and surprise >= self.level

    @property
    def words(self) -> str:
        """Who said what, for a sentence."""
        on = f"on {self.at:%Y-%m-%d}"
        if self.alert_id is None:
            return f"{self.author} called this not normal {on}"
        if self.normal:
            return f"{self.author} called this benign {on}, by alert {self.alert_id}"
        return f"this is behind alert {self.alert_id}, which {self.author} called true {on}"


def about(connection: Connection, host_id: int, counts: Sequence[StoredCount]) -> dict[int, Said]:
    """What was said last of the keys of some counts, by key number."""
    found = [*_in_reviews(connection, host_id, counts), *_of_alerts(connection, host_id, counts)]
    return dict(sorted(found, key=lambda each: each[1].at))


def levels(counts: Sequence[StoredCount], said: Mapping[int, Said]) -> npt.NDArray[np.float64] | None:
    """(n,) the level up to which each count was called benign; NaN: it was not. None: none was."""
    found = [said.get(each.key_id) for each in counts]
    if not any(each is not None and each.normal for each in found):
        return None
    return np.array([np.nan if each is None or not each.normal else each.level for each in found])


def refused(judged: Observation, said: Said, threshold: float) -> Observation:
    """What is said of a row that is not normal: it is unusual, also during burn-in."""
    surprise = max(judged.surprise or 0.0, threshold)
    explanation = said.words if judged.explanation is None else f"{said.words}; {judged.explanation}"
    return replace(judged, score=1.0 - 10.0**-surprise, surprise=surprise, unusual=True, explanation=explanation)


def accepted(judged: Observation, said: Said) -> Observation:
    """What is said of a row that would be strange, but for what a person said."""
    return replace(judged, explanation=f"usual, since {said.words}")


def _in_reviews(connection: Connection, host_id: int, counts: Sequence[StoredCount]) -> list[tuple[int, Said]]:
    columns, keys = model_reviews.c, connection_keys.c
    not_normal = (columns.host_id == host_id, columns.answer == ReviewAnswer.NOT_NORMAL.value)
    if connection.scalar(select(columns.host_id).where(*not_normal).limit(1)) is None:
        return []
    rows = connection.execute(
        select(keys.key_id, columns.author, columns.at)
        .join(connection_keys, (keys.host_id == columns.host_id) & (keys.digest == columns.digest))
        .where(*not_normal, bulk.among(connection, keys.key_id, {each.key_id for each in counts}))
    )
    return [(key_id, Said(normal=False, level=0.0, author=author, at=at, alert_id=None)) for key_id, author, at in rows]


def _of_alerts(connection: Connection, host_id: int, counts: Sequence[StoredCount]) -> list[tuple[int, Said]]:
    columns, verdicts, keys = alert_verdict_keys.c, alert_verdicts.c, connection_keys.c
    if connection.scalar(select(columns.host_id).where(columns.host_id == host_id).limit(1)) is None:
        return []
    rows = connection.execute(
        select(keys.key_id, columns.level, verdicts.verdict, verdicts.author, verdicts.at, columns.alert_id)
        .join(connection_keys, (keys.host_id == columns.host_id) & (keys.digest == columns.digest))
        .join(alert_verdicts, verdicts.alert_id == columns.alert_id)
        .where(
            columns.host_id == host_id,
            bulk.among(connection, keys.key_id, {each.key_id for each in counts}),
        )
    )
    return [
        (
            key_id,
            Said(normal=verdict == Verdict.BENIGN, level=level, author=author, at=at, alert_id=alert_id),
        )
        for key_id, level, verdict, author, at, alert_id in rows
    ]
