"""`detector alerts ack`, `resolve` and `note`: what people say of alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from detector.cli import terminal
from detector.cli.alert_names import ALERT_ID, find_alert
from detector.cli.rule_changes import said_author
from detector.cli.terminal import say
from detector.domain import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from detector.config import Settings

_AUTHOR = click.option("--author", metavar="NAME", help="Who says so. Default: whoever is logged in.")


def _answer(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _AUTHOR,
        click.option("--note", "said", metavar="TEXT", default="", help="What you want to add; it is kept with it."),
        click.argument("alert_ids", type=ALERT_ID, metavar="ID...", nargs=-1, required=True),
    ):
        command = option(command)
    return command


@click.command()
@_answer
@click.pass_obj
def ack(settings: Settings, /, alert_ids: tuple[int, ...], said: str, author: str | None) -> None:
    """Take alerts on: they are not repeated while they last.

    You are still told when one becomes more severe, or grows much.

    \b
    Examples:
      detector alerts ack 12
      detector alerts ack 12 13 --note 'looking at it'
    """
    from detector.store.answers import acknowledge

    _say_to_each(settings, alert_ids, acknowledge, "acknowledged", said, author)


@click.command()
@_answer
@click.option(
    "--as",
    "verdict",
    type=click.Choice([each.value for each in Verdict]),
    help="What they were, for the models to learn from: see detector model feedback.",
)
@click.pass_obj
def resolve(
    settings: Settings, /, alert_ids: tuple[int, ...], said: str, author: str | None, verdict: str | None
) -> None:
    """Say that alerts are over. One that comes back within its cooldown is opened again, and told.

    With --as true what is behind them is never learnt, and is told whenever it is met; with --as benign it counts as
    usual from now on (`detector alerts benign` writes a filter, too). `detector model feedback undo` takes that back.

    \b
    Examples:
      detector alerts resolve 12
      detector alerts resolve 12 13 --as true --note 'the account is locked'
    """
    from detector.store.answers import resolve as over

    _say_to_each(settings, alert_ids, over, "resolved", said, author)
    if verdict is not None:
        _learn(settings, dict.fromkeys(alert_ids), Verdict(verdict), said, author)


@click.command()
@click.argument("alert_id", type=ALERT_ID, metavar="ID")
@click.argument("text")
@_AUTHOR
@click.pass_obj
def note(settings: Settings, /, alert_id: int, text: str, author: str | None) -> None:
    """Keep a remark with an alert, in its time line.

    \b
    Examples:
      detector alerts note 12 'alice says that it was her'
    """
    from detector.cli.store import changed
    from detector.store.answers import NOTE, add_event

    if not text.strip():
        raise click.BadParameter("it is empty; write what is to be kept", param_hint="TEXT")
    with changed(settings) as connection:
        find_alert(connection, alert_id)
        add_event(connection, alert_id, NOTE, author=said_author(author), said=text.strip(), now=datetime.now(UTC))
    say(f"noted: alert {alert_id}")


def _say_to_each(
    settings: Settings,
    alert_ids: Iterable[int],
    answer: Callable[..., str | None],
    done: str,
    said: str,
    author: str | None,
) -> None:
    from detector.cli.store import changed
    from detector.store.answers import NOTE, add_event

    numbers = tuple(dict.fromkeys(alert_ids))
    with changed(settings) as connection:
        for alert_id in numbers:
            find_alert(connection, alert_id)
    remark: dict[str, Any] = {"author": said_author(author), "said": said.strip(), "now": datetime.now(UTC)}
    for alert_id in numbers:
        # One at a time: detection holds the alerts of a host in an order of its own.
        with changed(settings) as connection:
            why_not = answer(connection, alert_id, **remark)
            # Somebody was faster; what this one knows is none the worse for it.
            noted = why_not is not None and bool(remark["said"])
            if noted:
                add_event(connection, alert_id, NOTE, **remark)
        if why_not is None:
            say(f"{done}: alert {alert_id}")
        else:
            kept = "; your note is kept" if noted else ""
            terminal.note(f"nothing to be done for alert {alert_id}: {why_not}{kept}")


def _learn(settings: Settings, alert_ids: Iterable[int], verdict: Verdict, said: str, author: str | None) -> None:
    from detector.cli.model_feedback import said_of_keys
    from detector.cli.store import changed
    from detector.service import feedback

    for alert_id in alert_ids:
        with changed(settings) as connection:
            taken = feedback.record(
                connection, alert_id, verdict, author=said_author(author), reason=said.strip(), now=datetime.now(UTC)
            )
        if taken is not None:
            say(f"{verdict.value}: alert {alert_id}: {said_of_keys(taken)}")
