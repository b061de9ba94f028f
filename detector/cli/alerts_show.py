"""`detector alerts show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector.alert_words import also_seen_text
from detector.answers import Answer, answers
from detector.cli.alert_names import ALERT_ID, as_object, find_alert, state_of
from detector.cli.parameters import LIMIT
from detector.cli.rows import as_object as row_object
from detector.cli.rows import print_rows
from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, print_json, say
from detector.domain import AlertState, Outcome
from detector.row_words import connects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detector.config import Settings
    from detector.domain import Alert, Notification
    from detector.store.findings import Decision
    from detector.store.threads import Moment

OPENED = "opened"


@click.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ID")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="The rows shown behind it.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, all fields, times in UTC.")
@click.pass_obj
def show(settings: Settings, /, alert_id: int, limit: int, as_json: bool) -> None:
    """Show one alert: its facts, what was decided, sent and answered, what else its actor did, and the rows behind it.

    \b
    Examples:
      detector alerts show 12
      detector alerts show 12 --limit 1000 --json
    """
    from detector.alerts.escalation import upcoming
    from detector.cli.store import stored
    from detector.store import alerts as store
    from detector.store.findings import decisions
    from detector.store.threads import thread_of, timeline

    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
        thread = thread_of(connection, alert)
        moments = timeline(connection, thread)
        decided = decisions(connection, alert_id)
        sent = store.notifications_of(connection, alert_id)
        rows = store.alert_rows(connection, alert_id, limit)
        in_all = store.row_count(connection, alert_id)
        about_capture = store.is_about_capture(connection, alert_id)
        escalates = upcoming(connection, settings.escalations, alert_id) if settings.escalations else []
    said = answers(alert, about_capture=about_capture)
    if alert.state is not AlertState.RESOLVED:
        said = (*said, Answer("it is over", f"detector alerts resolve {alert_id}"))
    if as_json:
        print_json(
            {
                **as_object(alert),
                "decisions": [as_object(each) for each in decided],
                "notifications": [as_object(each) for each in sent],
                "escalates": [as_object(each) for each in escalates],
                "thread": [each.alert_id for each in thread],
                "timeline": [as_object(each) for each in moments],
                "answers": [each._asdict() for each in said],
                "rows_in_all": in_all,
                "rows": [row_object(row) for row in rows],
            }
        )
        return
    _print_facts(alert)
    _print_decisions(decided)
    _print_notifications(sent)
    for each in escalates:
        say(f"  {each.channel} is told {local(each.at)}, unless it is acknowledged or over by then")
    _print_timeline(alert, thread, moments)
    say("")
    say("What you can say to it:")
    print_table((Column("command"), Column("for", fold=True)), ((f"  {each.command}", each.purpose) for each in said))
    say("")
    say(f"Rows ({_how_many(len(rows), in_all, limit)}):")
    print_rows(rows)


def _how_many(shown: int, in_all: int, limit: int) -> str:
    if shown < min(in_all, limit):
        return f"{shown:,} of {in_all:,}; snapshots of others have expired"
    return f"the first {shown:,} of {in_all:,}" if shown < in_all else f"{shown:,}"


def _print_facts(alert: Alert) -> None:
    say(f"Alert {alert.alert_id}, {alert.severity.value}, on {alert.host}: {alert.rule_title}")
    say(alert.summary)
    say("")
    facts = {
        "state": _state(alert),
        "rule": alert.rule_id,
        "also seen by": also_seen_text(alert) or "-",
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


def _state(alert: Alert) -> str:
    if alert.state is AlertState.RESOLVED and alert.resolved_at is not None:
        return f"resolved {local(alert.resolved_at)}" + (f" by {alert.resolved_by}" if alert.resolved_by else ", quiet")
    if alert.acknowledged_by is not None and alert.acknowledged_at is not None:
        return f"{state_of(alert)}, by {alert.acknowledged_by} {local(alert.acknowledged_at)}"
    return state_of(alert)


def _print_timeline(alert: Alert, thread: Sequence[Alert], moments: Sequence[Moment]) -> None:
    """What happened, of all alerts of the thread: those of the others with their numbers and severities."""
    by_number = {each.alert_id: each for each in thread}
    title = "Time line" if len(thread) == 1 else f"Time line of its thread, {len(thread)} alerts of one actor"

    def words(each: Moment) -> str:
        said = by_number[each.alert_id].rule_title if each.kind == OPENED else each.said
        return f"{each.author}: {said}" if each.author and said else each.author or said or "-"

    columns = (Column("when"), Column("alert", align="right"), Column("what", fold=True), Column("", fold=True))
    _print_section(
        title,
        columns,
        (
            (
                local(each.at),
                f"{'* ' if each.alert_id == alert.alert_id else ''}{each.alert_id}",
                each.kind,
                words(each),
            )
            for each in moments
        ),
    )


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
        Column("state", fold=True),
        Column("attempts", align="right"),
        Column("when"),
        Column("last error", below=True),
    )
    _print_section(
        "Notifications",
        columns,
        (
            (
                str(each.notification_id),
                each.channel,
                each.reason,
                each.state.value
                + (f" (in one message, with {each.told_with})" if each.told_with else "")
                + (f" (without its chart: {each.chart_fault})" if each.chart_fault else ""),
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
