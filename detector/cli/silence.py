"""`detector silence`: what nobody wants to be told of for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from detector.cli import terminal
from detector.cli.alert_names import SILENCE_ID, find_silence
from detector.cli.checks.endings import SOON
from detector.cli.parameters import LIMIT, Moment
from detector.cli.rule_changes import said_author
from detector.cli.silence_making import RULE_ID, make, silence_object, silence_options, titles_of, words
from detector.cli.store import changed, stored
from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, print_json, say
from detector.cli.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.config import Settings
    from detector.matchers import Matcher
    from detector.store.alert_silences import Silence


@click.group(cls=Verbs)
def silence() -> None:
    """Mute alerts for a while, list what is muted, and end it.

    Alerts that a silence mutes are stored and listed all the same, and say which one it was.

    \b
    Examples:
      detector silence add login_user=backup --for 7d --reason 'the migration'
      detector silence list
      detector silence expire 3
    """


@silence.command()
@click.argument("written", metavar="FIELD=VALUE...", nargs=-1, required=True)
@click.option("--from", "starts_at", type=Moment(), help="When it begins, for planned work. Default: now.")
@silence_options
@click.pass_obj
def add(settings: Settings, /, written: tuple[str, ...], starts_at: datetime | None, **options: Any) -> None:
    """Mute alerts for which all of the matchers hold, for a while.

    A matcher is FIELD=VALUE, FIELD!=VALUE, FIELD=~REGEX or FIELD!~REGEX: an RE2 expression that the whole value has to
    match. Addresses may be networks. It has to hold for all rows of an alert; what is not known matches only the empty
    value (login_user=).

    \b
    Fields: host, rule (its name or id), rule_title, severity, direction, protocol, user, login_user,
    login_address, executable, script, remote_address, remote_name, remote_port, local_port; and
    what a rule groups by: command, parent_executable, unit, container, session, remote_country,
    remote_network.

    What it would have muted in the last days is shown. One that is about no rule, person, program or destination, or
    would have muted most alerts, asks first.

    \b
    Examples:
      detector silence add login_user=backup remote_address=10.0.0.0/8 --for 7d --reason 'the migration'
      detector silence add rule=horizontal_scan 'executable=~/opt/inventory/.*' --for 2h --reason 'inventory'
      detector silence add host=bastion-1 --from '2026-12-24 18:00' --until 2026-12-27 --yes --reason 'moves'
      detector silence add user=nagios --for 1h --dry-run
    """
    from detector.matchers import MatcherError, parse

    matchers: list[Matcher] = []
    for text in dict.fromkeys(written):
        try:
            matchers.append(parse(text))
        except MatcherError as fault:
            raise click.BadParameter(str(fault), param_hint="FIELD=VALUE") from None
    make(settings, _with_ids(settings, matchers), starts_at=starts_at, **options)


@silence.command("list")
@click.option("--all", "also_ended", is_flag=True, help="Also what has ended.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The most shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects, times in UTC.")
@click.pass_obj
def list_(settings: Settings, /, *, also_ended: bool, limit: int, as_json: bool) -> None:
    """List silences, the one that ends next last; what ends within a day says so.

    \b
    Examples:
      detector silence list
      detector silence list --all --json
    """
    from detector.store.alert_silences import list_silences

    now = datetime.now(UTC)
    with stored(settings) as connection:
        found = list_silences(connection, ending_after=None if also_ended else now, limit=limit + 1)
    shown = found[:limit]
    if as_json:
        print_json([silence_object(each) | {"state": _state(each, now)} for each in shown])
    elif shown:
        titles = titles_of(settings, (matcher for each in shown for matcher in each.matchers))
        columns = (
            Column("id", align="right"),
            Column("state"),
            Column("from"),
            Column("to"),
            Column("mutes", below=True),
            Column("author", fold=True),
            Column("reason", below=True),
        )
        print_table(columns, (_line(each, titles, now) for each in shown))
    else:
        terminal.note(
            "no silences" if also_ended else "no silences are in force or to come; those that have ended: --all"
        )
    if len(found) > limit:
        terminal.note("there are more: raise --limit")


@silence.command()
@click.argument("silence_ids", type=SILENCE_ID, metavar="ID...", nargs=-1, required=True)
@click.option("--author", metavar="NAME", help="Who says so. Default: whoever is logged in.")
@click.pass_obj
def expire(settings: Settings, /, silence_ids: tuple[int, ...], author: str | None) -> None:
    """End silences now. What they muted is told if it goes on.

    \b
    Examples:
      detector silence expire 3
    """
    from detector.store import alert_silences

    with changed(settings) as connection:
        numbers = tuple(dict.fromkeys(silence_ids))
        for number in numbers:
            find_silence(connection, number)
        ended = {
            number: alert_silences.expire(connection, number, author=said_author(author), now=datetime.now(UTC))
            for number in numbers
        }
    for number, done in ended.items():
        if done:
            say(f"ended: silence {number}")
        else:
            terminal.note(f"silence {number} has ended already")


def _state(silence: Silence, now: datetime) -> str:
    if silence.ends_at <= now:
        return f"ended by {silence.expired_by}" if silence.expired_by is not None else "ended"
    if silence.starts_at > now:
        return "to come"
    return "ends soon" if silence.ends_at - now <= SOON else "in force"


def _line(silence: Silence, titles: Mapping[str, str], now: datetime) -> tuple[str, ...]:
    return (
        str(silence.silence_id),
        _state(silence, now),
        local(silence.starts_at),
        local(silence.ends_at),
        words(silence.matchers, titles),
        silence.author,
        silence.reason,
    )


def _with_ids(settings: Settings, matchers: Sequence[Matcher]) -> list[Matcher]:
    """The same with the ids of rules that were named otherwise."""
    from dataclasses import replace

    from detector.matchers import Operator

    named = [
        each
        for each in matchers
        if each.field == "rule"
        and each.operator in (Operator.IS, Operator.IS_NOT)
        and not RULE_ID.fullmatch(each.value)
    ]
    if not named:
        return list(matchers)
    from detector.cli.rule_names import find, load

    loaded = load(settings)
    return [replace(each, value=find(loaded, each.value).rule_id) if each in named else each for each in matchers]
