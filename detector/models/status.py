"""What is learnt of each host, and how the promise is kept: for `detector model status`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from detector.models import moves, registry, scorer, threshold
from detector.store.tables import (
    detection_cursors,
    hosts,
    model_samples,
    model_subjects,
    models,
    snapshots,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Table

    from detector import config
    from detector.domain import Learning, ThresholdMove
    from detector.models.promise import Threshold
    from detector.models.week import Week

_MOVES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """What is learnt of one host."""

    host_id: int
    host: str
    learning: Learning
    until: datetime
    """End of the last snapshot that detection has seen."""
    scored_since: datetime | None
    """When burn-in was over; None: it is not."""
    promised: float
    """False alerts per day."""
    week: Week
    restarts: int
    """How often the host came back after nobody had watched it."""
    restarted_at: datetime | None
    """When it last did."""
    threshold: Threshold
    """As it was at `until`."""
    false_alerts: int
    """Alerts of the rule on scores in `days`, less those that a person called true."""
    days: float
    """The time since burn-in, at most four weeks."""
    moves: tuple[ThresholdMove, ...]
    """The last moves of the threshold, the newest last."""
    forest: registry.ModelVersion | None
    """The one in force."""
    forest_bytes: int
    """Of all that are stored."""
    subjects: int
    samples: int

    @property
    def month_began(self) -> bool:
        """Whether a first of a month was watched whole, with what runs on it; surely, however many gaps there were."""
        first = (self.until - timedelta(days=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return self.until - timedelta(seconds=self.learning.elapsed_seconds) <= first

    @property
    def achieved(self) -> float | None:
        """False alerts per day; None before there was time for one."""
        return self.false_alerts / self.days if self.days else None


def read(connection: Connection, settings: config.Models, host: str | None = None) -> list[HostStatus]:
    """The status of each host that detection has seen, or of one, in the order of names."""
    cursor, columns = detection_cursors.c, snapshots.c
    rows = connection.execute(
        select(hosts.c.host_id, hosts.c.host, columns.end)
        .join(detection_cursors, cursor.host_id == hosts.c.host_id)
        .join(snapshots, (columns.host_id == hosts.c.host_id) & (columns.seq == cursor.seq))
        .where(*([] if host is None else [hosts.c.host == host]))
        .order_by(hosts.c.host)
    ).all()
    return [_read(connection, settings, host_id, name, end) for host_id, name, end in rows]


def _read(connection: Connection, settings: config.Models, host_id: int, name: str, until: datetime) -> HostStatus:
    state = threshold.load(connection, host_id, settings.false_alerts_per_day)
    days, told = 0.0, 0
    if state.scored_since is not None:
        since = min(max(until - threshold.KEPT, state.scored_since), until)
        days = (until - since).total_seconds() / 86_400
        told = len(threshold.false_alerts(connection, host_id, since=since, until=until))
    limit = state.threshold(until)

    def rows_in(table: Table) -> int:
        return connection.scalar(select(func.count()).where(table.c.host_id == host_id)) or 0

    return HostStatus(
        host_id=host_id,
        host=name,
        learning=scorer.learning(connection, host_id, settings),
        until=until,
        scored_since=state.scored_since,
        promised=state.false_alerts_per_day,
        week=state.week,
        restarts=state.restarts,
        restarted_at=state.restarted_at,
        threshold=limit,
        false_alerts=told,
        days=days,
        moves=tuple(moves.latest(connection, host_id, promised=limit.promised, most=_MOVES)),
        forest=registry.in_force(connection, host_id),
        forest_bytes=connection.scalar(
            select(func.coalesce(func.sum(func.length(models.c.content)), 0)).where(models.c.host_id == host_id)
        )
        or 0,
        subjects=rows_in(model_subjects),
        samples=rows_in(model_samples),
    )
