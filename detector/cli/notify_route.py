"""`detector notify route`: where an alert goes, and why."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.parameters import Moment
from detector.cli.store import stored
from detector.cli.tables import Column, print_table
from detector.cli.terminal import print_json

if TYPE_CHECKING:
    from datetime import datetime

    from detector.config import Settings


@click.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ALERT")
@click.option("--at", type=Moment(), help="For routes with hours or weekdays; else when it was last active.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def route(settings: Settings, /, alert_id: int, at: datetime | None, *, as_json: bool) -> None:
    """Say where an alert would go by the present configuration and rules, and why.

    Sends nothing. What was sent of an alert says `detector alerts show`. Escalations are
    listed with the time after which they tell of an alert that nobody has acknowledged.

    \b
    Examples:
      detector notify route 12
      detector notify route 12 --at 'sunday 3:00'
    """
    from detector.amounts import humanised
    from detector.ruleset.load import load_rules
    from detector.service.routes import choices, escalations_of

    rules = load_rules(settings.rule_folders, channels=settings.channel_names).ruleset.rules
    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
        named = next((each.telling.channels for each in rules if each.rule_id == alert.rule_id), None)
        found = choices(connection, settings, alert, named, at or alert.end)
    later = [
        (channel, step.after_seconds, f"escalations[{number}]: unless it is acknowledged or over by then")
        for number, step in escalations_of(settings, alert.severity)
        for channel in step.channels
    ]
    if as_json:
        print_json(
            [asdict(each) | {"after_seconds": 0} for each in found]
            + [
                {"channel": channel, "sent": True, "reason": reason, "after_seconds": seconds}
                for channel, seconds, reason in later
            ]
        )
        return
    print_table(
        (Column("channel", fold=True), Column("sent"), Column("because", fold=True)),
        [
            *((each.channel, "yes" if each.sent else "no", each.reason) for each in found),
            *(
                (channel, f"after {humanised(timedelta(seconds=seconds))}", reason)
                for channel, seconds, reason in later
            ),
        ],
    )
