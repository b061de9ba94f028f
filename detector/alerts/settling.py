"""What time alone decides of alerts: that a wait is over, that it has been quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.alerts import channels, events, muting, standing
from detector.alerts.policy import Decision, Timing, is_over, silenced
from detector.domain import AlertState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from detector.alerts.routing import Router
    from detector.alerts.standing import Standing
    from detector.domain import SnapshotRef


def settle(
    connection: Connection, router: Router, timing: Timing, snapshot: SnapshotRef, *, now: datetime, quiet: bool
) -> None:
    """Does what `AlertBook.settle` says."""
    resolve_after = timing.resolve_after
    before = standing.unsettled(connection, snapshot.host_id, now=now, resolve_after=resolve_after if quiet else None)
    over = {
        alert_id: state
        for alert_id, state in before.items()
        if state.state is AlertState.WAITING and is_over(state.opened_at, now=now, wait=timing.group_wait)
    }
    mute = muting.muted(connection, snapshot.host, now, over)
    after: dict[int, Standing] = {}
    told: dict[int, tuple[Standing, Decision]] = {}
    happened: list[events.Event] = []
    for alert_id, state in before.items():
        settled = state
        if alert_id in mute:
            settled = state._replace(state=AlertState.OPEN, silenced_by=mute[alert_id])
            happened.append(events.Event(alert_id=alert_id, at=now, kind=silenced(mute[alert_id])))
        elif alert_id in over:
            settled = state._replace(state=AlertState.OPEN, notified_at=now)
            told[alert_id] = settled, Decision.OPENED
        if quiet and settled.state is AlertState.OPEN and (at := settled.quiet_at(now, resolve_after)):
            settled = settled._replace(state=AlertState.RESOLVED, resolved_at=at)
            happened.append(events.Event(alert_id=alert_id, at=at, kind=events.RESOLVED, said=events.QUIET))
        if settled is not state:
            after[alert_id] = settled
    standing.write(connection, snapshot.host_id, before, after)
    channels.write(connection, router, snapshot.host, told, now)
    events.write(connection, happened)
