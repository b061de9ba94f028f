"""Back-tests for verbs: with progress on a terminal, and what came of one in words."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, say
from detector.store.engine import open_store
from detector.store.migrating import check_current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from detector.alerts.tally import WouldBe
    from detector.config import Settings
    from detector.domain import Scalar
    from detector.ruleset.evaluate import Rule
    from detector.service.backtesting import Looked, Result
    from detector.service.replaying import Wanted

_DAY = timedelta(days=1)
# Nobody reads more of them at once.
_MOST_DAYS = 31


@contextmanager
def opened(settings: Settings) -> Iterator[Engine]:
    """The configured database; one that is not there is not made.

    Raises:
        ConfigError: the address cannot be read or understood.
        StoreError: the database is away, missing, or of another version; with the remedy.
    """
    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        yield engine
    finally:
        engine.dispose()


def run(
    engine: Engine,
    settings: Settings,
    rule: Rule,
    wanted: Wanted,
    *,
    what: str = "looking back",
    meanwhile: Callable[[], None] = lambda: None,
    watched: bool = True,
) -> Result:
    """A back-test, with its progress on standard error if that is a terminal.

    Args:
        engine: the database.
        settings: the configuration.
        rule: the rule.
        wanted: what is looked at.
        what: is said beside the progress.
        meanwhile: is called now and then.
        watched: whether the database tells for how long a host was watched: what a burn-in goes by.

    Raises:
        StoreError: the database is away.
    """
    from detector.service.backtesting import Policy, backtest

    policy = Policy(
        cooldown=rule.telling.cooldown or timedelta(seconds=settings.alerts.cooldown_seconds),
        burn_in=_burn_in(settings, rule) if watched else timedelta(0),
    )
    with _bar(what) as shown:

        def told(done: float) -> None:
            meanwhile()
            shown(done)

        return backtest(engine, rule, wanted, policy, told)


def _burn_in(settings: Settings, rule: Rule) -> timedelta:
    said = rule.telling.burn_in
    return timedelta(hours=settings.models.burn_in_hours if said else 0) if isinstance(said, bool) else said


@contextmanager
def _bar(what: str) -> Iterator[Callable[[float], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=1.0)
        yield lambda done: progress.update(bar, completed=done)


def print_result(rule: Rule, result: Result, wanted: Wanted, limit: int) -> None:
    """What a rule would have done: how much, on which days, and the largest of its alerts."""
    say(f"{rule.title} ({rule.severity}, {rule.kind}; {rule.path}:{rule.line})")
    for line in looked_in_words(result.looked, wanted):
        say(line)
    say(f"{number(result.findings, 'finding')}, {number(len(result.tally.alerts), 'alert')}")
    for line in held_in_words(result):
        say(line)
    if not result.findings:
        return
    say("")
    opened_on = Counter(each.opened_at.date() for each in result.tally.alerts)
    days = sorted(result.days)[-_MOST_DAYS:]
    columns = (Column("day (UTC)"), Column("alerts", align="right"), Column("findings", align="right"))
    print_table(columns, ((str(day), str(opened_on[day]), str(result.days[day])) for day in days))
    say("")
    print_alerts(largest(result.tally.alerts)[:limit])
    if len(result.tally.alerts) > limit:
        say(f"and {number(len(result.tally.alerts) - limit, 'alert')} more (--limit)")


def print_alerts(alerts: Sequence[WouldBe]) -> None:
    """A line for each."""
    columns = (
        Column("opened"),
        Column("host", fold=True),
        Column("findings", align="right"),
        Column("rows", align="right"),
        Column("what they have in common", fold=True),
    )
    rows = (
        (local(each.opened_at), each.host, str(each.findings), str(each.rows), in_common(each.group)) for each in alerts
    )
    print_table(columns, rows)


def largest(alerts: Sequence[WouldBe]) -> list[WouldBe]:
    """Those with the most findings first."""
    return sorted(alerts, key=lambda each: (-each.findings, each.opened_at, each.fingerprint))


def in_common(group: Mapping[str, Scalar]) -> str:
    """What the rows of an alert have in common, on one line."""
    return ", ".join(f"{name}={value}" for name, value in group.items() if value is not None) or "-"


def looked_in_words(looked: Looked, wanted: Wanted) -> Iterator[str]:
    """How far a back-test has looked, and what it could not see."""
    if looked.start is None or looked.end is None:
        yield f"there are no snapshots of that time{f' of hosts {wanted.host!r}' if wanted.host else ''}"
        return
    hosts = number(looked.hosts, "host")
    yield f"looked at {number(looked.snapshots, 'snapshot')} of {hosts}, {local(looked.start)} to {local(looked.end)}"
    until = wanted.until or datetime.now(UTC)
    if wanted.since is not None and looked.start - wanted.since > _DAY:
        seen, asked = ((until - moment) / _DAY for moment in (looked.start, wanted.since))
        expired = looked.known_since is not None and looked.known_since < looked.start - _DAY
        why = "the rest has expired" if expired else "before that nothing was stored"
        yield f"that is {max(seen, 0):.0f} of {asked:.0f} days; {why}"
    if looked.remembered_since is not None:
        yield f"what the rule remembers begins {local(looked.remembered_since)}, which is less than its window"
    if looked.damaged:
        yield f"{number(looked.damaged, 'snapshot')} cannot be read: what is stored of them is damaged"


def held_in_words(result: Result) -> Iterator[str]:
    """Of what nobody would have been told."""
    if result.held:
        yield f"{number(result.held, 'finding')} of these make no alert: the burn-in of the rule was not over"


def as_object(rule: Rule, result: Result, wanted: Wanted, limit: int) -> dict[str, Any]:
    """The same for scripts."""
    looked = result.looked
    opened_on = Counter(each.opened_at.date() for each in result.tally.alerts)
    return {
        "rule_id": rule.rule_id,
        "title": rule.title,
        "severity": rule.severity,
        "path": rule.path,
        "line": rule.line,
        "since": wanted.since,
        "until": wanted.until,
        "start": looked.start,
        "end": looked.end,
        "hosts": looked.hosts,
        "snapshots": looked.snapshots,
        "damaged": looked.damaged,
        "remembered_since": looked.remembered_since,
        "findings": result.findings,
        "held": result.held,
        "alerts": len(result.tally.alerts),
        "days": [
            {"day": day, "alerts": opened_on[day], "findings": findings}
            for day, findings in sorted(result.days.items())
        ],
        "largest": [
            {
                "opened_at": each.opened_at,
                "host": each.host,
                "start": each.start,
                "end": each.end,
                "findings": each.findings,
                "rows": each.rows,
                "group": dict(each.group),
            }
            for each in largest(result.tally.alerts)[:limit]
        ],
    }


def number(many: int, noun: str) -> str:
    """1 alert, 2 alerts."""
    return f"{many:,} {noun}{'' if many == 1 else 's'}"
