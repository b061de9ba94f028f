"""Alerts as they stand: read for a snapshot's findings, grown by them, written back."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, func, or_, select

from detector.alerts import evidence
from detector.alerts.facts import Facts, Totals
from detector.alerts.policy import Before, continues
from detector.alerts.threads import actors_of
from detector.alerts.wording import summary
from detector.domain import AlertState, Severity
from detector.store import bulk
from detector.store.tables import alerts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from detector.alerts.facts import CaptureFacts, Distinct
    from detector.alerts.grouping import Incident
    from detector.domain import Scalar, SnapshotRef

# SQLite accepts 32,766 bound parameters a statement, Postgres 65,535.
_FINGERPRINTS_PER_QUERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert's row, without its numbers."""

    fingerprint: str
    rule_id: str
    rule_title: str
    severity: Severity
    group: Mapping[str, Scalar]
    opened_at: datetime
    start: datetime
    end: datetime
    finding_count: int = 0
    attempted: int = 0
    established: int = 0
    refused: int = 0
    timed_out: int = 0
    failed: int = 0
    destinations: int = 0
    ports: int = 0
    score: float | None = None
    summary: str = ""
    explanations: tuple[tuple[float, str], ...] = ()
    """Surprise and sentence, the most surprising first."""
    notified_magnitude: int = 0
    notified_at: datetime | None = None
    state: AlertState = AlertState.WAITING
    resolves_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    silenced_by: int | None = None
    thread_id: int | None = None
    actors: tuple[str, ...] = ()
    channels: tuple[str, ...] | None = None

    @property
    def totals(self) -> Totals:
        """The sums over its rows."""
        return Totals(**{name: getattr(self, name) for name in _TOTALS})

    def quiet_at(self, now: datetime, resolve_after: timedelta) -> datetime | None:
        """When it had been quiet for long enough; None: it has not been yet.

        Args:
            now: in the host's data time, which may have been set back since the last finding.
            resolve_after: the longest that an alert is open after its last finding.
        """
        if self.resolves_at is not None and self.resolves_at <= now:
            return self.resolves_at
        return now if self.end - now > resolve_after else None

    @property
    def before(self) -> Before:
        """What is decided by."""
        return Before(
            state=self.state,
            severity=self.severity,
            told_at=self.notified_at,
            told_magnitude=self.notified_magnitude,
            acknowledged=self.acknowledged_at is not None,
            resolved_by=self.resolved_by,
        )


def find(
    connection: Connection, snapshot: SnapshotRef, cooldowns: Mapping[str, timedelta]
) -> dict[str, tuple[int, Standing]]:
    """The alerts that incidents belong to, with their numbers, by fingerprint; what people answer waits meanwhile.

    Args:
        connection: within the detection's transaction.
        snapshot: what the incidents were found in.
        cooldowns: by their fingerprints, how long an alert may have been quiet to go on.
    """
    found: dict[str, tuple[int, Standing]] = {}
    arrived, longest = list(cooldowns), max(cooldowns.values())
    for start in range(0, len(arrived), _FINGERPRINTS_PER_QUERY):
        fingerprints = arrived[start : start + _FINGERPRINTS_PER_QUERY]
        rows = connection.execute(
            select(alerts)
            .where(
                alerts.c.host_id == snapshot.host_id,
                bulk.among(connection, alerts.c.fingerprint, fingerprints),
                # Leaves most of a long history out; `continues` decides.
                alerts.c.end.between(snapshot.end - longest, snapshot.end + longest),
            )
            .order_by(alerts.c.end, alerts.c.alert_id)
            .with_for_update()
        ).mappings()
        for row in rows:
            state = _from_row(row)
            if continues(state.end, now=snapshot.end, cooldown=cooldowns[state.fingerprint]):
                found[state.fingerprint] = (row["alert_id"], state)
    return found


def unsettled(
    connection: Connection, host_id: int, *, now: datetime, resolve_after: timedelta | None
) -> dict[int, Standing]:
    """The alerts of a host that wait to be told, and those that may have been quiet for long enough, by number.

    Args:
        now: in the host's data time.
        resolve_after: the longest that an alert is open after its last finding; None: only those that wait.
    """
    columns = alerts.c
    wanted = columns.state == AlertState.WAITING.value
    if resolve_after is not None:
        quiet = or_(columns.resolves_at <= now, columns.end > now + resolve_after)
        wanted = or_(wanted, and_(columns.state == AlertState.OPEN.value, quiet))
    rows = connection.execute(
        select(alerts)
        .where(columns.host_id == host_id, columns.state.in_([AlertState.WAITING.value, AlertState.OPEN.value]), wanted)
        .order_by(columns.alert_id)
        .with_for_update()
    ).mappings()
    return {row["alert_id"]: _from_row(row) for row in rows}


def open_all(connection: Connection, snapshot: SnapshotRef, new: Sequence[Incident]) -> dict[str, tuple[int, Standing]]:
    """Writes an alert without rows for each incident; gives them as `find` does."""
    if not new:
        return {}
    blank = {each.fingerprint: _blank(each, snapshot) for each in new}
    # Numbers grow, and none but this transaction opens alerts of the host.
    last = connection.scalar(select(func.max(alerts.c.alert_id))) or 0
    bulk.add_any(connection, alerts, ("host_id", *_NAMES), [(snapshot.host_id, *_row(each)) for each in blank.values()])
    opened = select(alerts.c.alert_id, alerts.c.fingerprint).where(
        alerts.c.alert_id > last, alerts.c.host_id == snapshot.host_id
    )
    numbers = {fingerprint: alert_id for alert_id, fingerprint in connection.execute(opened)}
    return {fingerprint: (numbers[fingerprint], state) for fingerprint, state in blank.items()}


def grown(
    state: Standing,
    incident: Incident,
    *,
    host: str,
    quiet: timedelta,
    totals: Totals,
    explanations: Iterable[tuple[float, str]],
    values: Mapping[str, Distinct],
    capture: CaptureFacts | None,
) -> tuple[Standing, int]:
    """`state` with an incident added, and how large it is now (see `Facts.magnitude`).

    Args:
        quiet: without another finding it is over after this time.
        host: its name.
        totals, explanations: of the rows that the incident adds.
        values: of all rows, these included.
        capture: of an alert about capture, what all of its snapshots say.
    """
    lead = incident.lead
    if lead.severity.rank > state.severity.rank:
        # The rule of an alert is the one that gave it its severity.
        state = replace(
            state, severity=lead.severity, rule_id=lead.rule_id, rule_title=lead.rule_title, group=dict(lead.group)
        )
    strangest: dict[str, float] = {}
    for surprise, sentence in (*state.explanations, *explanations):
        strangest[sentence] = max(surprise, strangest.get(sentence, surprise))
    ranked = sorted(strangest.items(), key=lambda each: (-each[1], each[0]))[: evidence.EXPLANATIONS]
    start, end, sums = min(state.start, incident.start), max(state.end, incident.end), state.totals + totals
    facts = Facts(
        duration=end - start,
        totals=sums,
        values=values,
        explanation=ranked[0][0] if ranked else None,
        capture=capture,
        host=host,
        group=state.group,
        # The finding is of the rule that the alert is of: both have the same fingerprint.
        explain=lead.telling.explain,
    )
    after = replace(
        state,
        **{name: getattr(sums, name) for name in _TOTALS},
        start=start,
        end=end,
        finding_count=state.finding_count + len(incident.findings),
        destinations=facts.of("address").count,
        ports=facts.of("port").count,
        explanations=tuple((surprise, sentence) for sentence, surprise in ranked),
        summary=summary(facts),
        resolves_at=end + quiet,
        actors=actors_of(values),
        channels=lead.telling.channels,
    )
    return after, facts.magnitude


def write(connection: Connection, before: Mapping[int, Standing], after: Mapping[int, Standing]) -> None:
    """Writes alerts back, by number; what `before` says already of all of them is left as it is."""
    if not after:
        return
    old, new = (list(zip(*(_row(states[each]) for each in after), strict=True)) for states in (before, after))
    changed = [place for place, values in enumerate(new) if values != old[place]]
    names = "alert_id", *(_NAMES[place] for place in changed)
    bulk.change(connection, alerts, names, list(zip(after, *(new[place] for place in changed), strict=True)))


_NAMES = tuple(each.name for each in fields(Standing))
_row: Callable[[Standing], tuple[Any, ...]] = attrgetter(*_NAMES)
_TOTALS = tuple(each.name for each in fields(Totals))


def _from_row(row: Mapping[Any, Any]) -> Standing:
    values = {name: row[name] for name in _NAMES}
    values["severity"], values["state"] = Severity(values["severity"]), AlertState(values["state"])
    values["actors"] = tuple(values["actors"])
    values["channels"] = None if values["channels"] is None else tuple(values["channels"])
    values["explanations"] = tuple((surprise, sentence) for surprise, sentence in values["explanations"])
    return Standing(**values)


def _blank(incident: Incident, snapshot: SnapshotRef) -> Standing:
    return Standing(
        fingerprint=incident.lead.fingerprint,
        rule_id=incident.lead.rule_id,
        rule_title=incident.lead.rule_title,
        severity=incident.lead.severity,
        group=dict(incident.lead.group),
        opened_at=snapshot.end,
        start=incident.start,
        end=incident.end,
        # Most are told at once, and the database has nothing to move.
        state=AlertState.OPEN,
    )
