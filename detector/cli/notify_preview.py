"""`detector notify preview`: what would be sent, shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.terminal import note, say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.config import Channel, Settings
    from detector.notify.briefing import Briefing
    from detector.notify.message import Message
    from detector.notify.previewing import Preview


@click.command()
@click.option("--alert", "alert_id", type=ALERT_ID, metavar="ID", help="Of this alert; else of an example.")
@click.option(
    "--channel",
    "names",
    multiple=True,
    metavar="NAME",
    help="As this channel would be sent it: a configured one, or a kind. Can be given several times; else all kinds.",
)
@click.option("--reason", default="opened", show_default=True, help="Why it is sent.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write files there, and the chart."
)
@click.pass_obj
def preview(
    settings: Settings, /, alert_id: int | None, names: tuple[str, ...], reason: str, folder: Path | None
) -> None:
    """Show the message of an alert as channels would be sent it, with the templates in force. Nothing is sent.

    Kinds are console, mail, slack, discord, teams, mattermost, matrix, pagerduty and ntfy. With --out there is a file
    for each: .txt, and of mail .html and .eml, of Slack .json as it is posted; and the chart as chart.png.

    \b
    Examples:
      detector notify preview
      detector notify preview --alert 12 --channel mail --out /tmp/preview
      detector notify preview --channel operators --reason 'grown tenfold'
    """
    from detector.notify.example import example
    from detector.notify.message import CHART_NAME
    from detector.notify.previewing import preview as as_sent
    from detector.service.messages import illustrated, read_templates

    chosen = _chosen(settings.channels, names)
    briefing = example() if alert_id is None else _briefing(settings, alert_id)
    templates = read_templates(settings.template_folder)
    for fault in templates.faults:
        note(f"template refused: {fault}; what ships stands in its place")
    message = illustrated(briefing, reason, templates, chart=folder is not None)
    if message.template_fault is not None:
        note(f"template: {message.template_fault}; it would be sent in the words that ship")
    if message.chart_fault:
        note(f"without its chart: {message.chart_fault}")
    shown = [as_sent(name, message, None if channel is None else channel.address) for name, channel in chosen]
    if folder is None:
        _print(shown)
        return
    _write(folder, shown, message, CHART_NAME)


def _chosen(channels: Sequence[Channel], names: Sequence[str]) -> list[tuple[str, Channel | None]]:
    """What is shown: configured channels, and kinds without one."""
    from detector.notify.previewing import KINDS

    configured = {channel.name: channel for channel in channels}
    for name in names:
        if name not in configured and name not in KINDS:
            there = ", ".join(dict.fromkeys((*configured, *KINDS)))
            raise click.BadParameter(f"there is neither a channel nor a kind {name!r}; there is {there}")
    return [(name, configured.get(name)) for name in dict.fromkeys(names or KINDS)]


def _briefing(settings: Settings, alert_id: int) -> Briefing:
    from detector.cli.store import stored
    from detector.ruleset.load import load_rules
    from detector.service.briefing import brief

    rules = load_rules(settings.rule_folders, channels=settings.channel_names).ruleset.rules
    with stored(settings) as connection:
        alert = find_alert(connection, alert_id)
        rule = next((each for each in rules if each.rule_id == alert.rule_id), None)
        return brief(connection, alert, rule, settings.models)


def _print(shown: Sequence[Preview]) -> None:
    for number, each in enumerate(shown):
        if number:
            say("")
        say(f"-- {each.name}: {len(each.body):,} characters --")
        say(each.title)
        for line in each.body.splitlines():
            say(line)


def _write(folder: Path, shown: Sequence[Preview], message: Message, chart: str) -> None:
    written = {f"{each.name}{end}": content for each in shown for end, content in each.files.items()}
    if message.chart is not None:
        written[chart] = message.chart
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            (folder / name).write_bytes(content)
    except OSError as fault:
        raise DetectorError(f"{fault.filename}: {fault.strerror}", hint="name another folder with --out") from None
    for name in written:
        say(str(folder / name))
