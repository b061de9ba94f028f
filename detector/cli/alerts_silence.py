"""`detector alerts silence`: nothing more of what an alert is about, for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.rule_changes import said_author
from detector.cli.silence_making import make, silence_options

if TYPE_CHECKING:
    from detector.config import Settings


@click.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ID")
@silence_options
@click.pass_obj
def silence(settings: Settings, /, alert_id: int, **options: Any) -> None:
    """Hear nothing more of what an alert is about, for a while.

    It mutes that host, that rule and those that saw the same, and what the alert's rows have in common; what it would
    have muted before is shown.
    Alerts are stored all the same, and say which silence has muted them. For other matchers: detector silence add.

    \b
    Examples:
      detector alerts silence 12 --for 7d --reason 'the migration runs until Friday'
      detector alerts silence 12 --until '2026-12-31 18:00' --dry-run
    """
    from detector.cli.store import changed, stored
    from detector.matchers import of_group
    from detector.store.answers import SILENCED, add_event

    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
    matchers = of_group(alert.host, alert.rule_id, alert.group, alert.also_seen_by)
    author = options["author"] = said_author(options["author"])
    # Also on a host whose clock is behind.
    made = make(settings, matchers, starts_at=min(alert.start, datetime.now(UTC)), **options)
    if made is not None:
        number, why = made
        with changed(settings) as connection:
            said = f"silence {number}: {why}"
            add_event(connection, alert_id, SILENCED, author=author, said=said, now=datetime.now(UTC))
