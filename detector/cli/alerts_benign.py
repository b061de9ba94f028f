"""`detector alerts benign`: what an alert is about is meant to be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.rule_changes import change_options, said_author, said_reason
from detector.cli.terminal import say

if TYPE_CHECKING:
    from detector.config import Settings


@click.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ID")
@click.option("--no-filter", "only_said", is_flag=True, help="Only keep that it was benign; the rule finds it again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@change_options
@click.pass_context
def benign(
    ctx: click.Context,
    /,
    alert_id: int,
    *,
    only_said: bool,
    yes: bool,
    reason: str | None,
    until: str,
    author: str | None,
) -> None:
    """Say that what an alert is about is meant to be, and have its rule pass it over.

    Shows the narrowest Sigma filter that covers the alert, and writes it into your folder of rules once you agree, as
    `detector rules tune --from-alert` does; --until ends it. The alert is resolved, and keeps who said so and why; the
    models take it for usual from now on, and learn it. `detector model feedback` lists that, and takes it back.

    \b
    Examples:
      detector alerts benign 12 --reason 'the backup is meant to'
      detector alerts benign 12 --reason 'a test' --no-filter
    """
    from detector.cli.model_feedback import said_of_keys
    from detector.cli.rules_tune import tune
    from detector.cli.store import changed, stored
    from detector.domain import AlertState, Verdict
    from detector.service import feedback
    from detector.store.answers import BENIGN, add_event, resolve

    if only_said and until:
        raise click.UsageError("--until ends the filter, and --no-filter writes none: leave out one of them")
    settings: Settings = ctx.obj
    with stored(settings) as connection:
        find_alert(connection, alert_id)
    who, why = said_author(author), said_reason(reason)
    if not only_said:
        ctx.invoke(tune, named=None, words=(), alert_id=alert_id, yes=yes, reason=why, until=until, author=who)
    now = datetime.now(UTC)
    with changed(settings) as connection:
        alert = find_alert(connection, alert_id)
        add_event(connection, alert_id, BENIGN, author=who, said=why, now=now)
        taken = feedback.record(connection, alert_id, Verdict.BENIGN, author=who, reason=why, now=now)
        if alert.state is not AlertState.RESOLVED:
            resolve(connection, alert_id, author=who, said=BENIGN, now=now)
    learnt = "" if taken is None else f": {said_of_keys(taken)}"
    say(f"benign: alert {alert_id}{learnt}")
