"""Gathers what a digest says, from the store, the models and the rules; each number by a bounded statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from detector import digest as told
from detector.alert_words import rules_text
from detector.domain import AlertState, Severity, Verdict
from detector.models import status as models
from detector.models import threshold
from detector.ruleset.catalogue import State
from detector.service import digest_tuning
from detector.service.keeping import kept_from
from detector.store import period_alerts, period_capture, sizes
from detector.store import status as store
from detector.store.engine import reading
from detector.store.findings import MONTH, rule_hits
from detector.store.liveness import liveness
from detector.store.period_destinations import new_destinations
from detector.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from detector.config import Settings
    from detector.domain import Alert
    from detector.ruleset.catalogue import Entry
    from detector.ruleset.load import LoadedRules
    from detector.store.findings import RuleHits

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
# A longer period is shown by days.
_BY_HOUR = timedelta(days=2)
_LISTED_ALERTS, _LISTED_RULES, _LISTED_DESTINATIONS, _LISTED_HOSTS = 10, 5, 10, 20
_NAME_LIMIT, _RULES_LIMIT, _SUMMARY_LIMIT = 80, 200, 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which digest is to be made."""

    kind: told.Kind
    start: datetime
    end: datetime
    late: bool = False
    missed: int = 0
    last_alert: int | None = None
    """The newest alert when the one before was made; None: there is none before."""


def gather(engine: Engine, settings: Settings, rules: LoadedRules, wanted: Wanted, now: datetime) -> told.Digest:
    """What a period brought, over all hosts.

    Raises:
        StoreError: the database is away.
    """
    since, until = wanted.start, wanted.end
    size = sizes.measure(engine)
    with reading(engine) as connection:
        hosts = store.host_status(connection)
        fell, more = period_capture.silent(connection, since, until, _LISTED_HOSTS)
        return told.Digest(
            kind=wanted.kind,
            start=since,
            end=until,
            time_zone=settings.digest.time_zone,
            made_at=now,
            late=wanted.late,
            missed=wanted.missed,
            last_alert=period_alerts.newest_alert(connection),
            alerts=_alerts(connection, wanted, settings.digest.min_severity),
            rules=_rules(connection, rules, since, until, hosts),
            promises=_promises(connection, settings, since, until),
            destinations=_destinations(connection, settings, since, until),
            silences=tuple(
                told.HostSilence(host=visible(each.host, _NAME_LIMIT), since=each.since, until=each.until)
                for each in fell
            ),
            silences_more=more,
            capture=_capture(connection, {each.host: each.given_up for each in hosts}, since, until),
            delivery=tuple(told.Delivered(**each) for each in period_alerts.sent_by_channel(connection, since, until)),
            database=told.Database(
                used_bytes=size.used,
                bytes_per_day=sum(each.bytes_per_day for each in hosts),
                most_bytes=kept_from(settings, engine).most_bytes,
            ),
        )


def _alerts(connection: Connection, wanted: Wanted, least: Severity) -> told.Alerts:
    since, until = wanted.start, wanted.end
    counts = period_alerts.opened_counts(connection, since, until)
    severities = period_alerts.by_severity(connection, since, until)
    worst = period_alerts.worst(connection, since, until, least=least, limit=_LISTED_ALERTS)
    listed = sum(number for severity, number in severities.items() if severity.rank >= least.rank)
    late = 0
    if wanted.last_alert is not None:
        late = period_alerts.opened_late(connection, wanted.last_alert, since)
    return told.Alerts(
        total=counts.total,
        by_severity={each.value: severities[each] for each in reversed(Severity) if each in severities},
        open=counts.open,
        acknowledged=counts.acknowledged,
        silenced=counts.silenced,
        benign=counts.benign,
        true=counts.true,
        unanswered=counts.unanswered,
        late=late,
        bars=tuple(_bars(connection, since, until)),
        worst=tuple(
            told.ListedAlert(
                alert_id=each.alert_id,
                severity=each.severity,
                host=visible(each.host, _NAME_LIMIT),
                rule=visible(rules_text(each), _RULES_LIMIT),
                summary=visible(each.summary, _SUMMARY_LIMIT),
                opened_at=each.opened_at,
                state=each.state.value,
                verdict=verdict,
                commands=tuple(_answers(each, verdict)),
            )
            for each, verdict in worst
        ),
        worst_more=listed - len(worst),
    )


def _answers(alert: Alert, verdict: Verdict | None) -> Iterator[str]:
    yield f"detector alerts show {alert.alert_id}"
    answered = alert.acknowledged_at or alert.resolved_by or verdict
    if alert.severity.rank < Severity.HIGH.rank or answered:
        return
    if alert.state is AlertState.RESOLVED:
        # Nothing is left to look after, but what it was nobody has said.
        yield f"detector model feedback add {alert.alert_id} true  # or benign"
    else:
        yield f"detector alerts ack {alert.alert_id}"


def _bars(connection: Connection, since: datetime, until: datetime) -> Iterator[told.Bar]:
    length = _HOUR if until - since <= _BY_HOUR else _DAY
    found = period_alerts.opened_over_time(connection, since, until, length)
    for number in range(-(-(until - since) // length)):
        counts = {each.value: found[number, each.value] for each in Severity if (number, each.value) in found}
        yield told.Bar(start=since + number * length, counts=counts)


def _rules(
    connection: Connection, rules: LoadedRules, since: datetime, until: datetime, hosts: Sequence[store.HostStatus]
) -> told.Rules:
    oldest = min((each.oldest for each in hosts if each.oldest is not None), default=until)
    entries = {each.rule_id: each for each in rules.entries if each.state is not State.REPLACED and each.rule}
    reporting = [
        each
        for each in entries.values()
        if each.rule and each.rule.produces_findings and each.state in (State.ACTIVE, State.WAITING)
    ]
    names = digest_tuning.names(rules.entries)
    opened = period_alerts.opened_by_rule(connection, since, until)
    hits = rule_hits(connection, now=until)
    fired = {each.rule_id for each in opened}
    quiet = [
        each
        for each in reporting
        if each.rule_id not in fired and not _found_lately(hits.get(each.rule_id)) and not _is_about_capture(each)
    ]
    quiet.sort(key=lambda each: _quietness(each, hits.get(each.rule_id)))
    return told.Rules(
        in_force=len(reporting),
        fired=len(opened),
        quiet=len(quiet),
        looked_back=min(MONTH, max(until - oldest, timedelta(0))),
        refused=len({fault.path for fault in rules.faults}),
        noisiest=tuple(
            _noisy(connection, each, entries.get(each.rule_id), names, since, until) for each in opened[:_LISTED_RULES]
        ),
        quietest=tuple(_quiet(each, names, hits.get(each.rule_id)) for each in quiet[:_LISTED_RULES]),
    )


def _found_lately(hits: RuleHits | None) -> bool:
    return hits is not None and hits.month > 0


def _is_about_capture(entry: Entry) -> bool:
    return entry.rule is not None and entry.rule.category == "capture"


def _quietness(entry: Entry, hits: RuleHits | None) -> tuple[bool, float, int, str]:
    """Those that wait for nothing come first, of these the longest quiet, then the most severe."""
    last = 0.0 if hits is None or hits.last is None else hits.last.timestamp()
    return entry.state is State.WAITING, last, -(entry.severity or Severity.INFORMATIONAL).rank, entry.title


def _noisy(
    connection: Connection,
    opened: period_alerts.RuleOpened,
    entry: Entry | None,
    names: Mapping[str, str],
    since: datetime,
    until: datetime,
) -> told.NoisyRule:
    common = period_alerts.commonest(connection, opened.rule_id, since, until)
    benign = period_alerts.last_judged(connection, opened.rule_id, Verdict.BENIGN, since, until)
    in_force = entry is not None and entry.state is not State.DISABLED
    name = names.get(opened.rule_id, "") if in_force else None
    why, command = digest_tuning.for_noisy(opened, common, benign, name, until - since)
    return told.NoisyRule(
        rule=visible(opened.title, _NAME_LIMIT),
        severity=opened.severity,
        alerts=opened.alerts,
        findings=opened.findings,
        benign=opened.benign,
        true=opened.true,
        why=why,
        command=command,
    )


def _quiet(entry: Entry, names: Mapping[str, str], hits: RuleHits | None) -> told.QuietRule:
    severity = entry.severity or Severity.INFORMATIONAL
    command, switches_off = digest_tuning.for_quiet(names.get(entry.rule_id, ""), severity)
    return told.QuietRule(
        rule=visible(entry.title, _NAME_LIMIT),
        severity=severity,
        last=hits.last if hits else None,
        waits_for=visible(entry.why, _SUMMARY_LIMIT) if entry.state is State.WAITING else "",
        command=command,
        switches_off=switches_off,
    )


def _promises(connection: Connection, settings: Settings, since: datetime, until: datetime) -> told.Promises:
    found = []
    for each in models.read(connection, settings.models):
        if each.scored_since is None or each.scored_since >= until:
            continue
        # Of one alert nobody can say yet that it is more than one a week.
        told_lately = (each.achieved or 0.0) * each.days
        in_period = threshold.false_alerts(connection, each.host_id, since=since, until=until)
        found.append(
            told.Promise(
                host=visible(each.host, _NAME_LIMIT),
                promised=each.promised,
                told=len([moment for moment in in_period if moment < until]),
                achieved=each.achieved,
                days=each.days,
                kept=told_lately <= max(each.promised * each.days, 1.0),
            )
        )
    found.sort(key=lambda each: (each.promised - (each.achieved or 0.0), -each.told, each.host))
    return told.Promises(
        hosts=len(found),
        told=sum(each.told for each in found),
        promised=sum(each.promised for each in found) * ((until - since) / _DAY),
        broken=sum(not each.kept for each in found),
        worst=tuple(found[:_LISTED_HOSTS]),
    )


def _destinations(connection: Connection, settings: Settings, since: datetime, until: datetime) -> told.Destinations:
    burn_in = timedelta(hours=settings.models.burn_in_hours)
    found = new_destinations(connection, since, until, burn_in=burn_in, limit=_LISTED_DESTINATIONS)
    return told.Destinations(
        new=found.new,
        alerted=found.alerted,
        once=found.once,
        normal=found.normal,
        listed=tuple(
            told.NewDestination(
                host=visible(each.host, _NAME_LIMIT),
                remote_address=str(each.remote_address),
                remote_port=each.remote_port,
                remote_name=None if each.remote_name is None else visible(each.remote_name, _NAME_LIMIT),
                who=tuple(_who(account, executable) for account, executable in each.actors),
                first_seen=each.first_seen,
                last_seen=each.last_seen,
            )
            for each in found.usual
        ),
    )


def _who(account: str | None, executable: str | None) -> str:
    return f"{visible(account or 'somebody', _NAME_LIMIT)} with {visible(executable or 'something', _NAME_LIMIT)}"


def _capture(connection: Connection, given_up: dict[str, int], since: datetime, until: datetime) -> told.Captures:
    behind = {
        each.host
        for each in liveness(connection)
        if each.detected_until is None or each.detected_until < min(each.captured_until, until)
    }
    found = [
        told.Capture(
            host=visible(each.host, _NAME_LIMIT),
            snapshots=each.snapshots,
            incomplete=each.incomplete,
            watched_seconds=each.watched_seconds,
            period_seconds=(until - max(since, each.known_since)).total_seconds(),
            lost_events=each.lost_events,
            lost_snapshots=each.lost_snapshots,
            blind=each.blind,
            waited=each.waited,
            given_up=given_up.get(each.host, 0),
            behind=each.host in behind,
        )
        for each in period_capture.captured(connection, since, until)
    ]
    period = sum(each.period_seconds for each in found)
    watched = sum(min(each.watched_seconds, each.period_seconds) for each in found)
    worst = sorted(found, key=lambda each: (each.complete, each.share, -each.lost_events, each.host))
    return told.Captures(
        hosts=len(found),
        incomplete=sum(not each.complete for each in found),
        share=watched / period if period else 1.0,
        lost_events=sum(each.lost_events for each in found),
        lost_snapshots=sum(each.lost_snapshots for each in found),
        waited=sum(each.waited for each in found),
        given_up=sum(each.given_up for each in found),
        behind=sum(each.behind for each in found),
        worst=tuple(worst[:_LISTED_HOSTS]),
    )
