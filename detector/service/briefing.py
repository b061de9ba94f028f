"""Finds out what a message tells of an alert beside the alert itself."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from math import inf
from typing import TYPE_CHECKING, Any

from detector import shipped
from detector.amounts import looked_back
from detector.domain import Direction
from detector.notify.briefing import ADVICE, Briefing, Row
from detector.row_words import connection_text, connects_text, program_text, who_text
from detector.service.usual import LOOKED_BACK, Past, chart, sentences
from detector.store.alerts import alert_rows, row_count
from detector.store.background import rule_record, sole_values
from detector.store.filters import HistoryFilter
from detector.store.timeline import reach, timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from detector.config import Models
    from detector.domain import Alert
    from detector.ruleset.evaluate import Rule

_ROWS = 8
# Rows that are looked at for the strangest one.
_ROWS_READ = 200
# And for those that succeeded among many that did not.
_ROWS_SEARCHED = 5_000
_RECORD = timedelta(days=30)
# It runs what belongs to nobody in particular.
_EVERYBODY = "root"
_OFTEN = 0.5
_DAY_HOURS = 24
_YEAR_HOURS = 365 * _DAY_HOURS
# Beyond that a figure says more than anybody can know of hosts that are watched for months.
_NEVER_YEARS = 100


def brief(connection: Connection, alert: Alert, rule: Rule | None, models: Models) -> Briefing:
    """All that is known of an alert.

    Args:
        connection: the transaction.
        alert: which.
        rule: that made it; None: it is not in force any more.
        models: what the configuration promises.

    Raises:
        StoreError: the database is away.
    """
    plain = Briefing(alert=alert, rule=_about_rule(connection, alert, rule, models))
    if plain.about_capture:
        return plain
    mostly_failed = 0 < alert.established < alert.refused + alert.timed_out + alert.failed
    behind = alert_rows(connection, alert.alert_id, _ROWS_SEARCHED if mostly_failed else _ROWS_READ)
    # Of a scan it matters most what answered.
    told = sorted(behind, key=lambda row: not row["established"]) if mostly_failed else behind
    found = behind[:_ROWS_READ]
    in_all = row_count(connection, alert.alert_id)
    past = _past(connection, alert, sole_values(connection, alert.alert_id))
    return Briefing(
        alert=alert,
        normal=(*(sentences(past, alert) if past is not None else ()), *_newness(found, alert, in_all)),
        model=strangeness(found),
        rule=plain.rule,
        rows=tuple(_row(each) for each in told[:_ROWS]),
        more_rows=max(0, in_all - _ROWS),
        chart=chart(past, alert) if past is not None else None,
    )


def _past(connection: Connection, alert: Alert, common: Mapping[str, str]) -> Past | None:
    """What the actor did before; None: nothing is stored of the host."""
    who, actor = _actor(common)
    since = alert.start - LOOKED_BACK
    of_host = HistoryFilter(host=_literal(alert.host), since=since, until=alert.end)
    reached = reach(connection, HistoryFilter(host=_literal(alert.host)))
    if reached is None:
        return None
    wanted = HistoryFilter(host=of_host.host, since=since, until=alert.end, **actor)
    moments = timeline(connection, wanted, fine=False)
    name = f"{who} on {alert.host}" if who else alert.host
    return Past.of(name, max(reached[0], since), moments)


def _actor(common: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Whose doing it is, in words and as a filter: as alerts are linked into threads; nobody: all of the host."""
    if common.get("direction") == Direction.INBOUND:
        address = common.get("address")
        if address is not None:
            return address, {"remote_addresses": ip_network(address), "direction": Direction.INBOUND}
        return "", {}
    if (login_user := _literal(common.get("login_user"))) is not None:
        return login_user, {"login_user": login_user}
    user, executable = _literal(common.get("user")), _literal(common.get("executable"))
    if user is not None and user != _EVERYBODY:
        return user, {"user": user}
    if user is not None and executable is not None:
        return f"{user} with {executable}", {"user": user, "executable": executable}
    return "", {}


def _literal(name: str | None) -> str | None:
    """A name as a pattern that only it matches; None: there is none for it."""
    return None if name is None or {"*", "?"} & set(name) else name


def _newness(rows: Sequence[Mapping[str, Any]], alert: Alert, in_all: int) -> tuple[str, ...]:
    """How much of it was never seen before; of more rows than are looked at, how much of the first."""
    seen = {_place(row): row["first_seen"] for row in rows}
    if not seen:
        return ()
    new = sum(first is not None and first >= alert.start for first in seen.values())
    partly = len(rows) < in_all
    if new == len(seen):
        if len(seen) == 1:
            return ("Who, with what and where to: this was never seen before.",)
        return (f"None of {'the first' if partly else 'these'} {len(seen):,} was ever seen before.",)
    if not new:
        first = min(each for each in seen.values() if each is not None)
        what = f"All of the first {len(seen):,} were" if partly else "All of it was"
        return (f"{what} seen before, since {first:%Y-%m-%d}.",)
    return (f"{new:,} of {'the first ' if partly else ''}{len(seen):,} were never seen before.",)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("user", "login_user", "executable", "protocol", "remote_address", "remote_port", "local_port")
    return tuple(row[name] for name in names)


def strangeness(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What decided the score of the strangest row."""
    scored = [row for row in rows if row["surprise"] is not None]
    if not scored:
        return ()
    row = max(scored, key=lambda each: float(each["surprise"]))
    said = [f"Score {row['score']:.4f}: {_often(10 ** -row['surprise'])}."]
    if (channel := row["channel"]) is not None:
        strange = {name: p for name, p in _channels(row).items() if name != channel and p < _OFTEN}
        others = sorted(strange.items(), key=lambda each: each[1])
        told = f"What decided it: {channel.replace('_', ' ')}"
        if others:
            told += "; strange as well: " + ", ".join(name.replace("_", " ") for name, _ in others[:3])
        said.append(f"{told}.")
    return tuple(said)


def _channels(row: Mapping[str, Any]) -> dict[str, float]:
    return {name.removeprefix("p_"): row[name] for name in row if name.startswith("p_") and row[name] is not None}


def _often(probability: float) -> str:
    if probability >= _OFTEN:
        return "an hour without an attack holds something as strange more often than not"
    hours = 1 / probability if probability else inf
    if hours >= _NEVER_YEARS * _YEAR_HOURS:
        return f"an hour without an attack holds something as strange less than once in {_NEVER_YEARS} years"
    units = ((1, "hours", 1000), (_DAY_HOURS, "days", 3 * _YEAR_HOURS), (_YEAR_HOURS, "years", inf))
    size, unit = next((size, unit) for size, unit, below in units if hours < below)
    return f"an hour without an attack holds something as strange once in {round(hours / size):,} {unit}"


def _about_rule(connection: Connection, alert: Alert, rule: Rule | None, models: Models) -> tuple[str, ...]:
    """What the rule looks for, what else may be behind it, and how often it is expected to be wrong."""
    said = []
    if rule is not None and rule.description:
        what, advice, how = " ".join(rule.description.split()).partition(f" {ADVICE}")
        said += [what, f"{ADVICE}{how}"] if advice else [what]
    if rule is not None and rule.false_positives:
        said.append(f"Known to be harmless: {'; '.join(' '.join(each.split()) for each in rule.false_positives)}")
    if alert.rule_id == shipped.ANOMALY_RULE:
        said.append(
            f"Its scores may raise {models.false_alerts_per_day:g} false alerts a day on a host "
            "(models.false_alerts_per_day)."
        )
    reached = reach(connection, HistoryFilter(host=_literal(alert.host)))
    began = alert.start if reached is None else min(reached[0], alert.start)
    back = min(_RECORD, alert.end - began)
    record = rule_record(connection, alert.rule_id, alert.host, alert.end - back, alert.end, besides=alert.alert_id)
    if not record.alerts:
        said.append(f"It made no other alert on this host in {looked_back(back)}.")
        return tuple(said)
    made = f"{record.alerts:,} other alert{'' if record.alerts == 1 else 's'}"
    told = f"It made {made} on this host in {looked_back(back)}"
    answered = [f"{number:,} {word}" for number, word in ((record.benign, "false"), (record.true, "right")) if number]
    if not answered:
        said.append(f"{told}; nobody has said whether {'it was' if record.alerts == 1 else 'they were'} right.")
        return tuple(said)
    told += f", of which people called {' and '.join(answered)}"
    # Of less than a day nobody knows what a day brings.
    said.append(f"{told}: {record.benign / back.days:.2g} false ones a day." if back.days else f"{told}.")
    return tuple(said)


def _row(row: Mapping[str, Any]) -> Row:
    return Row(
        when=f"{row['end']:%Y-%m-%d %H:%M:%S}",
        who=who_text(row),
        program=program_text(row),
        connection=connection_text(row),
        connects=connects_text(row),
    )
