"""Alerts as they stand: read for a snapshot's findings, grown by them, written back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, and_, func, literal_column, or_, select, true

from detector.alerts import evidence
from detector.alerts.facts import Facts, Totals
from detector.alerts.policy import Before, continues
from detector.alerts.strangest import strangest
from detector.alerts.threads import actors_of
from detector.alerts.wording import summary
from detector.domain import AlertState, Severity
from detector.store import bulk
from detector.store.tables import alerts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement

    from detector.alerts.facts import CaptureFacts, Distinct
    from detector.alerts.grouping import Incident
    from detector.alerts.values import Common
    from detector.domain import Scalar, SnapshotRef

# SQLite accepts 32,766 bound parameters a statement; of Postgres all are one.
_FINGERPRINTS_PER_QUERY = 1000


class Standing(NamedTuple):
    """An alert's row, without its numbers. (A tuple, since a snapshot may have ten thousand, of forty columns.)"""

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
    score: float | None = None
    destinations: int = 0
    ports: int = 0
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
    common: Common = {}  # noqa: RUF012 - nobody writes into it
    also_seen_by: Mapping[str, str] = {}

    @property
    def totals(self) -> Totals:
        """The sums over its rows."""
        return Totals(
            attempted=self.attempted,
            established=self.established,
            refused=self.refused,
            timed_out=self.timed_out,
            failed=self.failed,
            score=self.score,
        )

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
    # Leaves most of a long history out; `continues` decides.
    ended = snapshot.end - longest, snapshot.end + longest
    at_once = len(arrived) if connection.dialect.name == "postgresql" else _FINGERPRINTS_PER_QUERY
    for start in range(0, len(arrived), at_once):
        fingerprints = arrived[start : start + at_once]
        rows = connection.execute(
            select(alerts.c.alert_id, *(alerts.c[name] for name in Standing._fields))
            .where(_of_fingerprints(connection, snapshot.host_id, fingerprints, ended))
            .order_by(alerts.c.end, alerts.c.alert_id)
            .with_for_update()
        ).all()
        for alert_id, *row in rows:
            state = _from_row(row)
            if continues(state.end, now=snapshot.end, cooldown=cooldowns[state.fingerprint]):
                found[state.fingerprint] = (alert_id, state)
    return found


def _of_fingerprints(
    connection: Connection, host_id: int, fingerprints: Sequence[str], ended: tuple[datetime, datetime]
) -> ColumnElement[bool]:
    columns = alerts.c
    if connection.dialect.name != "postgresql":
        among = bulk.among(connection, columns.fingerprint, fingerprints)
        return and_(columns.host_id == host_id, among, columns.end.between(*ended))
    # Each is looked up by itself, which OFFSET 0 says: of a table that has just grown Postgres knows nothing yet, and
    # would compare each of the fingerprints with each of the host's alerts.
    wanted = bulk.listed(connection, {"fingerprint": columns.fingerprint}, [(each,) for each in fingerprints])
    same = (
        select(columns.alert_id, columns.end)
        .where(columns.host_id == host_id, columns.fingerprint == wanted.c.fingerprint)
        .offset(literal_column("0"))
        .lateral()
    )
    found = select(same.c.alert_id).select_from(wanted.join(same, true())).where(same.c.end.between(*ended))
    return columns.alert_id.in_(found)


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
        select(columns.alert_id, *(columns[name] for name in Standing._fields))
        .where(columns.host_id == host_id, columns.state.in_([AlertState.WAITING.value, AlertState.OPEN.value]), wanted)
        .order_by(columns.alert_id)
        .with_for_update()
    ).all()
    return {alert_id: _from_row(row) for alert_id, *row in rows}


def blank(incident: Incident, snapshot: SnapshotRef) -> Standing:
    """The alert that an incident opens, as yet without rows."""
    lead = incident.lead
    return Standing(
        fingerprint=lead.fingerprint,
        rule_id=lead.rule_id,
        rule_title=lead.rule_title,
        severity=lead.severity,
        group=dict(lead.group),
        opened_at=snapshot.end,
        start=incident.start,
        end=incident.end,
    )


def numbers(connection: Connection, count: int) -> list[int]:
    """The numbers of so many new alerts, in order."""
    if connection.dialect.name == "postgresql":
        # As a question of its own, that Postgres answers once and not for each number.
        sequence = select(func.pg_get_serial_sequence(alerts.name, alerts.c.alert_id.name)).scalar_subquery()
        drawn = select(func.nextval(sequence)).select_from(func.generate_series(1, count).alias())
        return sorted(connection.scalars(drawn))
    # Whoever writes is alone.
    last = connection.scalar(select(func.max(alerts.c.alert_id))) or 0
    return list(range(last + 1, last + 1 + count))


def grown(
    state: Standing,
    incident: Incident,
    *,
    host: str,
    quiet: timedelta,
    totals: Totals,
    explanations: Sequence[tuple[float, str]],
    common: Common,
    values: Mapping[str, Distinct],
    capture: CaptureFacts | None,
) -> tuple[Standing, int]:
    """`state` with an incident added, and how large it is now (see `Facts.magnitude`).

    Args:
        quiet: without another finding it is over after this time.
        host: its name.
        totals, explanations: of the rows that the incident adds.
        common: what all rows agree in, these included.
        values: of all rows.
        capture: of an alert about capture, what all of its snapshots say.
    """
    lead = incident.lead
    if lead.severity.rank > state.severity.rank:
        # The rule of an alert is the one that gave it its severity.
        state = state._replace(
            severity=lead.severity, rule_id=lead.rule_id, rule_title=lead.rule_title, group=dict(lead.group)
        )
    said = state.explanations
    if explanations:
        said = strangest((*said, *explanations), evidence.EXPLANATIONS)
    start, end, sums = min(state.start, incident.start), max(state.end, incident.end), state.totals + totals
    facts = Facts(
        duration=end - start,
        totals=sums,
        values=values,
        explanation=said[0][1] if said else None,
        capture=capture,
        host=host,
        group=state.group,
        # The finding is of the rule that the alert is of: both have the same fingerprint.
        explain=lead.telling.explain,
    )
    after = state._replace(
        attempted=sums.attempted,
        established=sums.established,
        refused=sums.refused,
        timed_out=sums.timed_out,
        failed=sums.failed,
        score=sums.score,
        start=start,
        end=end,
        finding_count=state.finding_count + len(incident.findings),
        destinations=facts.of("address").count,
        ports=facts.of("port").count,
        explanations=said,
        summary=summary(facts),
        resolves_at=end + quiet,
        actors=actors_of(values),
        channels=lead.telling.channels,
        common=common,
    )
    return after, facts.magnitude


def write(connection: Connection, host_id: int, before: Mapping[int, Standing], after: Mapping[int, Standing]) -> None:
    """Writes alerts of a host, by number: new ones, and what of the others `before` does not say already of all."""
    new = [(alert_id, host_id, *state) for alert_id, state in after.items() if alert_id not in before]
    _open(connection, new)
    known = {alert_id: state for alert_id, state in after.items() if alert_id in before}
    if not known:
        return
    was, columns = (list(zip(*states, strict=True)) for states in (map(before.__getitem__, known), known.values()))
    changed = [place for place, values in enumerate(columns) if values != was[place]]
    names = "alert_id", *(Standing._fields[place] for place in changed)
    bulk.change(connection, alerts, names, list(zip(known, *(columns[place] for place in changed), strict=True)))


def _open(connection: Connection, new: Sequence[tuple[Any, ...]]) -> None:
    """Writes new alerts, without what is not known of any of them."""
    columns = zip(("alert_id", "host_id", *Standing._fields), zip(*new, strict=True), strict=True) if new else ()
    said = {name: values for name, values in columns if values.count(None) < len(values)}
    bulk.add(connection, alerts, tuple(said), list(zip(*said.values(), strict=True)))


def _from_row(row: Sequence[Any]) -> Standing:
    values = list(row)
    for place, made in _MADE.items():
        values[place] = made(values[place])
    return Standing._make(values)


def _names(said: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if said is None else tuple(said)


def _pairs(said: Iterable[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    return tuple((surprise, sentence) for surprise, sentence in said)


_MADE: Mapping[int, Callable[[Any], Any]] = {
    Standing._fields.index("severity"): Severity,
    Standing._fields.index("state"): AlertState,
    Standing._fields.index("actors"): tuple,
    Standing._fields.index("channels"): _names,
    Standing._fields.index("explanations"): _pairs,
}
"""How a value of the database becomes one of an alert's row, by its place."""
