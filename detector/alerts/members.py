"""Which incidents become part of the alerts that have all of their rows, once it is known who is told of those."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.alerts import channels, events

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from detector.alerts.accounts import Accounts
    from detector.alerts.grouping import Incident
    from detector.alerts.routing import Router
    from detector.alerts.standing import Standing
    from detector.domain import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An incident that others have all rows of."""

    incident: Incident
    greater: tuple[Incident, ...]
    """Those others, the most severe first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Who is told of the alerts that members may become part of."""

    router: Router
    host: str
    now: datetime
    accounts: Mapping[int, Accounts]
    """Of these alerts, as far as routes ask for them."""
    muted: Collection[int]
    """Those of which nobody is told."""

    def _channels(self, alert_id: int, state: Standing) -> set[str]:
        return channels.told(self.router, self.host, state, self.accounts.get(alert_id, {}), self.now)

    def accepts(self, member: Member, alerts: Sequence[tuple[int, Standing]]) -> bool:
        """Whether a member may become part of alerts: of one actor, and told to whoever would be told of the member."""
        actors = {state.actors for _, state in alerts}
        if len(actors) > 1 or () in actors or any(alert_id in self.muted for alert_id, _ in alerts):
            return False
        lead = member.incident.lead
        mine, others = set[str](), set[str]()
        for alert_id, state in alerts:
            others |= self._channels(alert_id, state)
            alike = state._replace(
                severity=lead.severity,
                rule_id=lead.rule_id,
                rule_title=lead.rule_title,
                channels=lead.telling.channels,
            )
            mine |= self._channels(alert_id, alike)
        return mine <= others


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What became of members."""

    by_alert: Mapping[int, Sequence[Incident]]
    left: Sequence[Member]
    """Those that need alerts of their own."""

    def findings(self) -> Iterator[tuple[int, Finding]]:
        """The findings that became part of alerts, with these."""
        for alert_id, incidents in self.by_alert.items():
            for incident in incidents:
                for finding in incident.findings:
                    yield alert_id, finding

    def seen_by(self, alert_id: int, state: Standing) -> Standing:
        """An alert that names the rules of its members."""
        rules = {
            each.rule_id: each.rule_title
            for incident in self.by_alert.get(alert_id, ())
            for each in incident.findings
            if each.rule_id != state.rule_id
        }
        if rules.keys() <= state.also_seen_by.keys():
            return state
        named = {**rules, **state.also_seen_by}
        return state._replace(also_seen_by=dict(sorted(named.items(), key=lambda each: (each[1], each[0]))))


def join(members: Iterable[Member], alerts: Mapping[str, tuple[int, Standing]], told: Told) -> Joined:
    """Makes members part of alerts; of several that have their rows, of the most severe.

    Args:
        members: in any order.
        alerts: those that incidents belong to, with their numbers, by fingerprint.
        told: who is told of these.
    """
    by_alert: dict[int, list[Incident]] = defaultdict(list)
    left: list[Member] = []
    for member in members:
        known = [alerts[each.fingerprint] for each in member.greater if each.fingerprint in alerts]
        if len(known) == len(member.greater) and told.accepts(member, known):
            by_alert[known[0][0]].append(member.incident)
        else:
            left.append(member)
    return Joined(by_alert=by_alert, left=left)


def news(before: Mapping[int, Standing], after: Mapping[int, Standing], now: datetime) -> list[events.Event]:
    """That rules have seen what alerts are about which had not before."""
    return [
        events.Event(alert_id=alert_id, at=now, kind=events.ALSO_SEEN, said=title)
        for alert_id, state in after.items()
        for rule_id, title in state.also_seen_by.items()
        if alert_id not in before or rule_id not in before[alert_id].also_seen_by
    ]
