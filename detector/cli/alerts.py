"""`detector alerts`: what was found, and why."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import LIMIT, Moment
from detector.cli.rows import as_object, connects, print_rows
from detector.cli.terminal import Column, local, local_column, note, print_json, print_table, say
from detector.domain import Outcome
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from detector.config import Settings
    from detector.domain import Alert, Notification
    from detector.store.findings import Decision

_LARGEST_ID = 2**63 - 1


@click.group()
def alerts() -> None:
    """List alerts, and show one with all that is behind it.

    \b
    Examples:
      detector alerts list --since 7d
      detector alerts show 12
    """


@alerts.command("list")
@click.option("--since", type=Moment(), help="Only what was still going on after: 7d, 2h, 2026-11-20.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The newest alerts shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def list_(settings: Settings, /, since: datetime | None, limit: int, as_json: bool) -> None:
    """List alerts, the newest last.

    \b
    Examples:
      detector alerts list
      detector alerts list --since 24h
      detector alerts list --since 2026-11-01 --limit 1000 --json
    """
    from detector.cli.store import stored
    from detector.store.alerts import list_alerts

    with stored(settings) as connection:
        found = list_alerts(connection, since=since, limit=limit + 1)
    # The newest come first from the store, and stand nearest to the prompt here.
    shown = found[:limit][::-1]
    if as_json:
        print_json([_as_object(alert) for alert in shown])
    elif shown:
        last, times = local_column("last", [each.end for each in shown])
        columns = (
            Column("id", align="right"),
            last,
            Column("severity"),
            Column("host", fold=True),
            Column("rule", fold=True),
            Column("summary", fold=True),
        )
        print_table(
            columns,
            (
                (str(each.alert_id), time, each.severity.value, each.host, each.rule_title, each.summary)
                for each, time in zip(shown, times, strict=True)
            ),
        )
    else:
        note("no alerts")
    if len(found) > limit:
        note("there are older alerts too: narrow the search with --since, or raise --limit")


@alerts.command()
@click.argument("alert_id", type=click.IntRange(1, _LARGEST_ID), metavar="ID")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="The rows shown behind it.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, all fields, times in UTC.")
@click.pass_obj
def show(settings: Settings, /, alert_id: int, limit: int, as_json: bool) -> None:
    """Show one alert: its facts, what was decided, what was sent, and the rows behind it.

    \b
    Examples:
      detector alerts show 12
      detector alerts show 12 --limit 1000 --json
    """
    from detector.cli.store import stored
    from detector.store import alerts as store
    from detector.store.findings import decisions

    with stored(settings) as connection:
        alert = store.read_alert(connection, alert_id)
        if alert is None:
            raise DetectorError(f"there is no alert {alert_id}", hint="see: detector alerts list")
        decided = decisions(connection, alert_id)
        sent = store.notifications_of(connection, alert_id)
        found = store.alert_rows(connection, alert_id, limit + 1)
    rows = found[:limit]
    if as_json:
        print_json(
            {
                **_as_object(alert),
                "decisions": [_as_object(each) for each in decided],
                "notifications": [_as_object(each) for each in sent],
                "rows": [as_object(row) for row in rows],
            }
        )
        return
    _print_facts(alert)
    _print_decisions(decided)
    _print_notifications(sent)
    say("")
    say(f"Rows ({'the first ' if len(found) > limit else ''}{len(rows)}):")
    print_rows(rows)


def _as_object(value: Alert | Notification | Decision) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "keys") else value


def _print_facts(alert: Alert) -> None:
    say(f"Alert {alert.alert_id}, {alert.severity.value}, on {alert.host}: {alert.rule_title}")
    say(alert.summary)
    say("")
    facts = {
        "rule": alert.rule_id,
        "first": local(alert.start),
        "last": local(alert.end),
        "opened": local(alert.opened_at),
        "counts": connects(alert.attempted, {each: getattr(alert, each.value) for each in Outcome}),
        "addresses": str(alert.destinations),
        "ports": str(alert.ports),
        "score": "-" if alert.score is None else f"{alert.score:.4f}",
        "findings": str(alert.finding_count),
        "in common": ", ".join(f"{name}={value}" for name, value in alert.group.items() if value is not None) or "-",
        "fingerprint": alert.fingerprint,
    }
    for name, value in facts.items():
        say(f"{name:<12} {value}")
    if alert.explanations:
        say("")
        say("Why it is unusual:")
        for sentence in alert.explanations:
            say(f"  {sentence}")


def _print_decisions(decided: Sequence[Decision]) -> None:
    columns = (Column("decision", fold=True), Column("findings", align="right"), Column("from"), Column("to"))
    _print_section(
        "Decisions",
        columns,
        ((each.decision, str(each.findings), local(each.start), local(each.end)) for each in decided),
    )


def _print_notifications(sent: Sequence[Notification]) -> None:
    columns = (
        Column("number", align="right"),
        Column("channel", fold=True),
        Column("why", fold=True),
        Column("state"),
        Column("attempts", align="right"),
        Column("when"),
        Column("last error", fold=True),
    )
    _print_section(
        "Notifications",
        columns,
        (
            (
                str(each.notification_id),
                each.channel,
                each.reason,
                each.state.value + (f" (in one message, with {each.digest_id})" if each.digest_id else ""),
                str(each.attempts),
                local(each.delivered_at or max(each.created_at, each.next_attempt_at)),
                each.last_error or "-",
            )
            for each in sent
        ),
    )


def _print_section(title: str, columns: Sequence[Column], rows: Iterable[tuple[str, ...]]) -> None:
    lines = list(rows)
    say("")
    say(f"{title}:" if lines else f"{title}: none")
    if lines:
        print_table(columns, lines)
