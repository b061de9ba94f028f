"""`detector rules new`: a rule from a template, or for what an alert was about."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.rule_changes import said_author
from detector.cli.rule_files import edited_alone, new_place, put
from detector.cli.rules_edit import edit_text
from detector.cli.terminal import note
from detector.errors import DetectorError, RuleError

if TYPE_CHECKING:
    from detector.config import Settings

# What is behind a larger alert need not be read to its end to see what it has in common.
_MOST_ROWS = 10_000
_KINDS = ("event", "count", "values", "capture")


class FileName(click.ParamType[str]):
    """The name of a new rule file, without its folder."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Letters, digits, dash, dot and underscore; `.yml` is added."""
        stem = value.removesuffix(".yml")
        if not (stem.replace("-", "").replace("_", "").replace(".", "").isalnum() and stem[0].isalnum()):
            self.fail(f"{value!r} is no name of a file; write letters, digits, - and _: odd_port", param, ctx)
        return f"{stem}.yml"


@click.command()
@click.argument("name", type=FileName(), metavar="NAME")
@click.option("--kind", type=click.Choice(_KINDS), default="event", show_default=True, help="What it looks at.")
@click.option("--from-alert", "alert_id", type=ALERT_ID, metavar="ID", help="For what this alert is about.")
@click.option("--title", help="Its title. Default: NAME in words.")
@click.option("--author", metavar="WHO", help="Who writes it. Default: whoever is logged in.")
@click.option("--no-edit", is_flag=True, help="Write it as it is, without the editor.")
@click.pass_obj
def new(
    settings: Settings,
    /,
    name: str,
    kind: str,
    alert_id: int | None,
    title: str | None,
    author: str | None,
    no_edit: bool,
) -> None:
    """Write a new rule into your folder: a template of its kind in your editor, or a rule for what an alert is about.

    Kinds are: event, for single rows; count and values, for how many connects, or different values, there are within a
    time; capture, for how well snapshots were taken. From an alert it holds for all rows behind that, but for what
    changes from one login to the next. It is checked, and tested on what is stored, as by `rules edit`.

    \b
    Examples:
      detector rules new odd_port
      detector rules new slow_scan --kind values --title 'Slow scan'
      detector rules new this_again --from-alert 12
    """
    from detector.ruleset.templates import of_kind, of_selection
    from detector.ruleset.trial import trial

    place = new_place(settings, name)
    title = title or place.path.stem.replace("_", " ").replace("-", " ").capitalize()
    today, author = datetime.now(UTC).date(), said_author(author)
    if alert_id is None:
        text = of_kind(kind, title, author, today)
    else:
        text = of_selection(*_of_alert(settings, alert_id), title, author, today)
    if not no_edit and not os.isatty(0):
        raise click.UsageError("rules are edited on a terminal: add --no-edit")
    with edited_alone(place):
        if not no_edit:
            edit_text(settings, place, text, new=True)
            return
        tried = trial(settings.rule_folders, place.folder, place.path, text, settings.channel_names)
        if tried.faults:
            raise RuleError(tried.faults)
        put(settings, place, text)


def _of_alert(settings: Settings, alert_id: int) -> tuple[dict[str, object], str]:
    """What all rows behind an alert have in common, as a selection, and their category."""
    from detector.cli.store import stored
    from detector.ruleset import exclusions
    from detector.store.alerts import alert_rows, is_about_capture

    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
        rows = alert_rows(connection, alert_id, _MOST_ROWS + 1)
        category = "capture" if is_about_capture(connection, alert_id) else "network_connection"
    if len(rows) > _MOST_ROWS:
        note(f"more than {_MOST_ROWS:,} rows are behind it: the rule goes by the first of them")
    selection = exclusions.from_rows(rows[:_MOST_ROWS]) if rows else exclusions.from_group(alert.group, category)
    if not selection:
        raise DetectorError(f"what is behind alert {alert_id} has nothing in common", hint="write it: rules new NAME")
    return selection, category
