"""The book of alerts: findings come in, alerts and outbox entries stand there afterwards."""

from __future__ import annotations

from itertools import compress
from operator import not_
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from detector.alerts import cap, capture, channels, events, evidence, held, muting, standing, threads, values
from detector.alerts.accounts import accounts_of
from detector.alerts.covering import Covering, covered
from detector.alerts.facts import Totals
from detector.alerts.grouping import WHOLE, Incident, incidents
from detector.alerts.members import Joined, Member, Told, join, news
from detector.alerts.policy import Decision, Timing, decide, once_a_day
from detector.alerts.routing import ChannelPolicy, Router
from detector.alerts.settling import settle
from detector.alerts.verdicts import Verdict, moved
from detector.domain import AlertState
from detector.store import bulk
from detector.store.tables import findings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from detector.alerts.facts import Distinct
    from detector.alerts.grouping import Place
    from detector.alerts.standing import Standing
    from detector.config_routes import Route
    from detector.domain import Finding, Learning, SnapshotRef

__all__ = ["AlertBook", "ChannelPolicy"]

MOST_A_DAY = 5
_COVERING = Covering()


class AlertBook:
    """Groups findings into alerts and writes what is to be sent to the outbox, within the detection's transaction.

    Args:
        channels: where alerts go.
        cooldown: findings with one fingerprint that follow one another within this time are one alert, unless their
            rule has a cooldown of its own.
        timing: how long all else takes.
        most_a_day: alerts of the rule on scores that are opened of a host in a day: see `cap`.
        routes: which alerts go to which channels.
        covering: what of several rules that see the same rows is told by one of them alone.
    """

    def __init__(
        self,
        channels: Sequence[ChannelPolicy],
        cooldown: timedelta,
        timing: Timing | None = None,
        *,
        most_a_day: int = MOST_A_DAY,
        routes: Sequence[Route] = (),
        covering: Covering = _COVERING,
    ) -> None:
        self._router = Router(tuple(channels), tuple(routes))
        self._cooldown = cooldown
        self._timing = timing or Timing()
        self._most_a_day = most_a_day
        self._covering = covering

    def record(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        findings: Sequence[Finding],
        learning: Learning | None = None,
    ) -> None:
        """Stores findings with what became of them, alerts with their rows and totals, and notifications.

        Neither the order of `findings` nor a second call with the same findings changes what is stored. What time alone
        decides (see `settle`) is done first, also without findings.

        Args:
            connection: within the detection's transaction.
            snapshot: what they were found in.
            findings: of all rules.
            learning: for how long the host was watched; None: for long enough for every rule.
        """
        self.settle(connection, snapshot, now=snapshot.end)
        told = list(findings)
        if learning is not None:
            covered = [learning.covers(finding.telling.burn_in) for finding in findings]
            told = list(compress(findings, covered))
            held.write(connection, snapshot, list(compress(findings, map(not_, covered))))
        while told:
            told = self._record_some(connection, snapshot, told)

    def settle(self, connection: Connection, snapshot: SnapshotRef, *, now: datetime, quiet: bool = True) -> None:
        """Tells of the alerts of a host whose wait is over, and resolves those that have been quiet for long enough.

        A second call at the same time changes nothing.

        Args:
            connection: within the detection's transaction.
            snapshot: the host's last one.
            now: its end, or later if nothing has come since.
            quiet: whether nothing happened until `now`, or nothing more is to be expected; else nothing is resolved.
        """
        settle(connection, self._router, self._timing, snapshot, now=now, quiet=quiet)

    def _record_some(self, connection: Connection, snapshot: SnapshotRef, found: Sequence[Finding]) -> list[Finding]:
        """Records what is not recorded of findings; gives back those that others have all rows of, but cannot speak
        for.
        """
        recorded = _recorded(connection, snapshot)
        found, fresh = _beside(recorded, found), not recorded
        arrived = {each.fingerprint: each for each in incidents(found)}

        def stored(incident: Incident, places: set[Place]) -> set[Place]:
            known = standing.find(connection, snapshot, self._cooldowns([incident]))
            if incident.fingerprint not in known:
                return set()
            alert_id, _ = known[incident.fingerprint]
            return evidence.known(connection, snapshot, {alert_id: places}, fresh=fresh).get(alert_id, set())

        lesser = covered(arrived.values(), self._covering, stored)
        # What is covered opens no alert, and takes no place among those of a day.
        speaking = [
            each for fingerprint, incident in arrived.items() if fingerprint not in lesser for each in incident.findings
        ]
        told = cap.capped(connection, snapshot, speaking, cooldown=self._cooldown, most=self._most_a_day)
        members = [Member(incident=arrived[each], greater=greater) for each, greater in lesser.items()]
        # Mostly nothing is covered or held back, and ten thousand need not be put together again.
        whole = list(arrived.values()) if told == found else incidents(_beside(recorded, told))
        left = self._record(connection, snapshot, whole, members, fresh=fresh)
        return [each for member in left for each in member.incident.findings]

    def _cooldowns(self, arrived: Iterable[Incident]) -> dict[str, timedelta]:
        return {each.fingerprint: each.lead.telling.cooldown or self._cooldown for each in arrived}

    def _record(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        arrived: Sequence[Incident],
        members: Sequence[Member],
        *,
        fresh: bool,
    ) -> list[Member]:
        """Records incidents, and those that are part of them; gives back the ones that cannot be."""
        if not arrived:
            return list(members)
        cooldowns = self._cooldowns(arrived)
        known = standing.find(connection, snapshot, cooldowns)
        new = [each for each in arrived if each.fingerprint not in known]
        opened = dict(zip(standing.numbers(connection, len(new)), new, strict=True)) if new else {}
        before = dict(known.values())
        number = {fingerprint: alert_id for fingerprint, (alert_id, _) in known.items()}
        number |= {each.fingerprint: alert_id for alert_id, each in opened.items()}
        by_alert = {number[each.fingerprint]: each for each in arrived}

        added = evidence.read(
            connection, snapshot, {alert_id: each.places for alert_id, each in by_alert.items()}, opened, fresh=fresh
        )
        unwritten = {alert_id: added.found.several.get(alert_id, {}) for alert_id in opened}
        common, said = _values(connection, added.found, by_alert, before, unwritten)
        health = capture.read(
            connection,
            snapshot,
            {
                alert_id: {seq for seq, key_id, _ in each.places if key_id == WHOLE}
                for alert_id, each in by_alert.items()
                if each.about_capture
            },
            said,
        )

        after: dict[int, Standing] = {}
        decisions: dict[int, Decision] = {}
        magnitudes: dict[int, int] = {}
        for alert_id, incident in by_alert.items():
            state = before.get(alert_id)
            after[alert_id], magnitudes[alert_id] = standing.grown(
                state or standing.blank(incident, snapshot),
                incident,
                host=snapshot.host,
                quiet=self._timing.quiet(cooldowns[incident.fingerprint]),
                totals=added.totals.get(alert_id, Totals()),
                explanations=added.explanations.get(alert_id, ()),
                common=common[alert_id],
                values=said[alert_id],
                capture=health.get(alert_id),
            )
            decisions[alert_id] = decide(
                None if state is None else state.before,
                severity=incident.lead.severity,
                magnitude=magnitudes[alert_id],
                now=snapshot.end,
                timing=self._timing,
            )
            if cap.is_digest(incident.fingerprint):
                decisions[alert_id] = once_a_day(decisions[alert_id])
        having = {number[each.fingerprint] for one in members for each in one.greater if each.fingerprint in number}
        telling = {each: after[each] for each, decision in decisions.items() if decision.sends or each in having}
        mute = muting.muted(connection, snapshot.host, snapshot.end, telling, unwritten)
        verdicts = {
            alert_id: Verdict(decision=decision, silence=mute.get(alert_id) if decision.sends else None)
            for alert_id, decision in decisions.items()
        }
        back = [alert_id for alert_id, state in before.items() if state.state is AlertState.RESOLVED]
        after = {
            alert_id: moved(state, verdicts[alert_id], magnitudes[alert_id], snapshot.end)
            for alert_id, state in after.items()
        }
        after |= self._threads(connection, snapshot, {alert_id: after[alert_id] for alert_id in opened})
        joined = self._join(
            connection,
            snapshot,
            members,
            {each: (number[each], after[number[each]]) for each in cooldowns if number[each] in having},
            mute,
            unwritten,
        )
        after |= {alert_id: joined.seen_by(alert_id, after[alert_id]) for alert_id in joined.by_alert}

        standing.write(connection, snapshot.host_id, before, after)
        evidence.write(connection, snapshot, added)
        values.write(connection, unwritten, opened)
        _write_findings(connection, snapshot, by_alert, verdicts, joined)
        told = {
            alert_id: (after[alert_id], verdict.decision) for alert_id, verdict in verdicts.items() if verdict.sends
        }
        channels.write(connection, self._router, snapshot.host, told, snapshot.end)
        reopened = [events.Event(alert_id=each, at=snapshot.end, kind=events.REOPENED) for each in back]
        events.write(
            connection, [*reopened, *news(before, {each: after[each] for each in joined.by_alert}, snapshot.end)]
        )
        return list(joined.left)

    def _join(
        self,
        connection: Connection,
        snapshot: SnapshotRef,
        members: Sequence[Member],
        alerts: Mapping[str, tuple[int, Standing]],
        mute: Mapping[int, int],
        unwritten: Mapping[int, values.Several],
    ) -> Joined:
        """Makes members part of the alerts that have their rows, where nobody misses a message by that."""
        having = dict(alerts[each.fingerprint] for one in members for each in one.greater if each.fingerprint in alerts)
        common = {alert_id: state.common for alert_id, state in having.items()}
        told = Told(
            router=self._router,
            host=snapshot.host,
            now=snapshot.end,
            accounts=accounts_of(connection, common, unwritten) if self._router.asks_for_users else {},
            muted={each for each, state in having.items() if each in mute or state.silenced_by is not None},
        )
        return join(members, alerts, told)

    def _threads(
        self, connection: Connection, snapshot: SnapshotRef, new: Mapping[int, Standing]
    ) -> dict[int, Standing]:
        """The new alerts that belong to the thread of another one."""
        links = [
            threads.Link(alert_id=alert_id, thread_id=alert_id, actors=state.actors, start=state.start, end=state.end)
            for alert_id, state in new.items()
            if state.actors
        ]
        window = self._timing.thread
        if not links or not window:
            return {}
        around = min(each.start for each in links), snapshot.end
        before = threads.recent(connection, snapshot.host_id, around, window)
        found = threads.link(links, before, window)
        return {
            alert_id: new[alert_id]._replace(thread_id=thread_id)
            for alert_id, thread_id in found.items()
            if thread_id != alert_id
        }


def _values(
    connection: Connection,
    found: values.Found,
    alert_ids: Iterable[int],
    before: Mapping[int, Standing],
    unwritten: Mapping[int, values.Several],
) -> tuple[dict[int, values.Common], dict[int, dict[str, Distinct]]]:
    """What the rows of alerts agree in now, and how many values they have, by alert; writes those of `before`."""
    old = {alert_id: state.common for alert_id, state in before.items()}
    common = {alert_id: found.common(alert_id, old.get(alert_id, {})) for alert_id in alert_ids}
    values.write(
        connection, {alert_id: found.differing(alert_id, said, common[alert_id]) for alert_id, said in old.items()}
    )
    return common, values.distinct(connection, common, unwritten)


def _recorded(connection: Connection, snapshot: SnapshotRef) -> set[tuple[str, str]]:
    """Rule and fingerprint of the findings that are recorded of a snapshot."""
    rows = connection.execute(
        select(findings.c.rule_id, findings.c.fingerprint).where(
            findings.c.host_id == snapshot.host_id, findings.c.seq == snapshot.seq
        )
    )
    return {(rule_id, fingerprint) for rule_id, fingerprint in rows}


def _beside(recorded: Collection[tuple[str, str]], found: Sequence[Finding]) -> list[Finding]:
    """The findings that are not recorded."""
    return [finding for finding in found if (finding.rule_id, finding.fingerprint) not in recorded]


def _write_findings(
    connection: Connection,
    snapshot: SnapshotRef,
    by_alert: Mapping[int, Incident],
    verdicts: Mapping[int, Verdict],
    joined: Joined,
) -> None:
    told = [
        # One incident, one message: its first finding is told, the others only add to it.
        (alert_id, finding, verdicts[alert_id].reason if finding is incident.lead else Decision.GROUPED.value)
        for alert_id, incident in by_alert.items()
        for finding in incident.findings
    ]
    told += [(alert_id, finding, Decision.COVERED.value) for alert_id, finding in joined.findings()]
    rows = [
        (
            *(snapshot.host_id, snapshot.seq, finding.rule_id, finding.fingerprint, alert_id, decision),
            *(finding.start, finding.end, len(set(finding.evidence))),
        )
        for alert_id, finding, decision in told
    ]
    names = ("host_id", "seq", "rule_id", "fingerprint", "alert_id", "decision", "start", "end", "rows")
    bulk.add(connection, findings, names, rows)
