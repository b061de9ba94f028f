"""`detector model feedback`: what people said of alerts, and what the models learnt of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import numbered
from detector.cli.alert_names import ALERT_ID
from detector.cli.parameters import HostName
from detector.cli.rule_changes import said_author
from detector.cli.tables import Column, local_column, print_table
from detector.cli.terminal import note, print_json, say
from detector.cli.verbs import Verbs
from detector.domain import Verdict
from detector.errors import DetectorError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from detector.config import Settings
    from detector.service.feedback import Taken
    from detector.store.feedback import Feedback


@click.group(cls=Verbs)
def feedback() -> None:
    """Say whether alerts were right, see what was said and what the models learnt of it, and take it back.

    What was true is never learnt: whoever connects there again in the same way is unusual. What was benign is usual
    from now on, is learnt like all else, and is told again only if it is far more than you saw. Forests to which true
    alerts are less strange, or benign ones stranger, are not put in force. `detector alerts benign` says it too.

    An alert counts as false unless somebody says that it was true. False alerts of the rule on scores raise the
    threshold of their host a little, so that the promise of models.false_alerts_per_day is kept.

    All of it is kept with its author, and can be taken back: what was benign is then as unusual as it was.

    \b
    Examples:
      detector model feedback add 12 true --reason 'pentest of 12 May'
      detector model feedback add 13 benign
      detector model feedback list
      detector model feedback undo 12
    """


@feedback.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ALERT")
@click.argument("verdict", type=click.Choice([each.value for each in Verdict]))
@click.option("--reason", default="", help="Why, for those who read it later.")
@click.option("--author", help="Who says so; the user who calls, unless it is given.")
@click.pass_obj
def add(settings: Settings, /, alert_id: int, verdict: str, reason: str, author: str | None) -> None:
    """Say that an alert was benign, or true; in place of what was said of it before.

    \b
    Examples:
      detector model feedback add 12 true
      detector model feedback add 13 benign --reason 'the new backup'
    """
    from detector.cli.store import changed
    from detector.service import feedback as service

    said, now = Verdict(verdict), datetime.now(UTC)
    with changed(settings) as connection:
        before = _corrections(connection, settings, alert_id)
        taken = service.record(connection, alert_id, said, author=said_author(author), reason=reason, now=now)
        if taken is None:
            raise DetectorError(f"there is no alert {alert_id}", hint="see: detector alerts list")
        after = _corrections(connection, settings, alert_id)
    say(f"alert {alert_id} is {said.value}: {said_of_keys(taken)}; {_effect(before, after)}")


@feedback.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ALERT")
@click.pass_obj
def undo(settings: Settings, /, alert_id: int) -> None:
    """Take back what was said of an alert, and what the models learnt of it.

    What was benign is as unusual as it was when it was called so; what was true is judged like all else. A filter that
    `detector alerts benign` has written stays: see `detector rules list`.

    \b
    Example:
      detector model feedback undo 12
    """
    from detector.cli.store import changed
    from detector.service import feedback as service

    with changed(settings) as connection:
        before = _corrections(connection, settings, alert_id)
        taken = service.undo(connection, alert_id)
        if taken is None:
            raise DetectorError(f"nothing was said of alert {alert_id}", hint="see: detector model feedback list")
        after = _corrections(connection, settings, alert_id)
    judged = f"{numbered(taken.keys, 'key')} {'is' if taken.keys == 1 else 'are'} judged as before it was said"
    say(f"nothing is said of alert {alert_id} any more: {judged}; {_effect(before, after)}")


@feedback.command("list")
@click.option("--host", type=HostName(), help="Only of this host.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, all fields, times in UTC.")
@click.pass_obj
def list_(settings: Settings, /, host: str | None, *, as_json: bool) -> None:
    """List what was said of alerts, by whom and when, and what the models learnt of it, the newest last.

    A key is who connects with what to where. Of a true alert, keys that were there long before are told of only where
    they are strange.

    \b
    Examples:
      detector model feedback list
      detector model feedback list --host bastion-1 --json
    """
    from detector.cli.store import stored
    from detector.store.feedback import listed

    with stored(settings) as connection:
        found = listed(connection, host)
    if as_json:
        print_json([_as_object(each) for each in found])
        return
    if not found:
        note("nothing was said of any alert yet: see detector model feedback add")
        return
    said, times = local_column("said", [each.at for each in found])
    columns = (
        *(Column("alert", "right"), said, Column("verdict"), Column("by", fold=True), Column("host", fold=True)),
        *(Column("rule", fold=True), Column("learnt of it", fold=True), Column("reason", fold=True)),
    )
    rows = (
        (
            *(str(each.alert_id), time, each.verdict.value, each.author, each.host, each.rule_title),
            *(_learnt(each), each.reason or "-"),
        )
        for each, time in zip(found, times, strict=True)
    )
    print_table(columns, rows)


def _as_object(each: Feedback) -> dict[str, Any]:
    return {name: value for name, value in asdict(each).items() if name != "host_id"}


def said_of_keys(taken: Taken) -> str:
    """What follows for the keys behind an alert of which a person has just said something."""
    if not taken.keys:
        return "there are no connections behind it to learn from"
    keys = numbered(taken.keys, "key")
    if taken.verdict is Verdict.TRUE:
        return f"{keys} behind it will not be learnt"
    return f"{keys} behind it {'counts' if taken.keys == 1 else 'count'} as usual, and will be learnt"


def _learnt(each: Feedback) -> str:
    if not each.keys:
        return "-"
    keys = numbered(each.keys, "key")
    if each.verdict is Verdict.BENIGN:
        return f"{keys}: usual"
    limited = f", {each.limited_keys:,} where strange" if each.limited_keys else ""
    return f"{keys}: not learnt{limited}"


def _corrections(connection: Connection, settings: Settings, alert_id: int) -> float | None:
    """What the alerts of its host add to the threshold; None of an alert that is not of the rule on scores."""
    from detector import shipped
    from detector.models import status, threshold
    from detector.store.alerts import read_alert

    alert = read_alert(connection, alert_id)
    if alert is None or alert.rule_id != shipped.ANOMALY_RULE:
        return None
    (known,) = status.read(connection, settings.models, alert.host) or (None,)
    if known is None:
        return None
    state = threshold.load(connection, known.host_id, settings.models.false_alerts_per_day)
    return threshold.correction(connection, known.host_id, state, known.until)


def _effect(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "it is not of the rule on scores, so no threshold moves"
    if f"{after:.2f}" == f"{before:.2f}":
        return "the threshold of its host stays as it is"
    return f"from its next hour on, alerts move the threshold of its host by {after:+.2f}, not by {before:+.2f}"
