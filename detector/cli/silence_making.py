"""Makes a silence: shows what it would have muted, asks where that is much, and writes it."""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from detector.amounts import numbered
from detector.cli.parameters import Duration, Moment
from detector.cli.rule_changes import said_author, said_reason
from detector.cli.terminal import local, note, print_json, say
from detector.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from detector.alerts.preview import Preview
    from detector.config import Settings
    from detector.matchers import Matcher
    from detector.store.alert_silences import Silence

_LONGEST = timedelta(days=366)
_SHOWN = 10
RULE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How the id of a rule is written."""


def silence_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of `make`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="A JSON object of the silence and its preview."),
        click.option("--yes", is_flag=True, help="Do not ask, however much it mutes."),
        click.option("--dry-run", is_flag=True, help="Only say what it would have muted."),
        click.option(
            "--days",
            type=click.IntRange(1, 3660),
            default=30,
            show_default=True,
            help="How far back it is looked for what it would have muted.",
        ),
        click.option("--author", metavar="NAME", help="Who says so. Default: whoever is logged in."),
        click.option("--reason", metavar="TEXT", help="Why; asked for when it is not given."),
        click.option("--until", type=Moment(), help="When it ends: 2026-12-31, '2026-12-31 18:00'."),
        click.option("--for", "span", type=Duration(), help="How long it lasts: 30m, 2h, 7d, 2w."),
    ):
        command = option(command)
    return command


def make(
    settings: Settings,
    matchers: Sequence[Matcher],
    *,
    starts_at: datetime | None,
    span: timedelta | None,
    until: datetime | None,
    reason: str | None,
    author: str | None,
    days: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> tuple[int, str] | None:
    """Makes a silence of matchers; gives its number and why, or None if it is not to be made.

    Raises:
        DetectorError: it mutes much, and nobody is there to be asked.
        StoreError: the database cannot be read or written.
        UsageError: its end is missing or over.
    """
    from detector.alerts.preview import preview
    from detector.cli.store import changed, stored
    from detector.matchers import is_broad
    from detector.store import alert_silences

    now = datetime.now(UTC)
    begin = starts_at or now
    ends_at = _end(max(begin, now), span, until, now)
    with stored(settings) as connection:
        seen = preview(connection, matchers, now - timedelta(days=days))
    if not as_json:
        _print(words(matchers, titles_of(settings, matchers)), begin, ends_at, seen, days)
    if dry_run:
        if as_json:
            print_json(_object(None, matchers, begin, ends_at, seen))
        return None
    if (much := _much(seen, broad=is_broad(matchers))) and not yes:
        if not os.isatty(0):
            raise DetectorError(f"this silence {much}; nothing was done", hint="narrow it, or say --yes")
        click.confirm(f"this silence {much}: go on?", abort=True)
    why = said_reason(reason)
    said = {"author": said_author(author), "reason": why}
    with changed(settings) as connection:
        number = alert_silences.add(connection, matchers, starts_at=begin, ends_at=ends_at, now=now, **said)
    if as_json:
        print_json(_object(number, matchers, begin, ends_at, seen) | said)
    else:
        say(f"silence {number}, until {local(ends_at)}; to end it: detector silence expire {number}")
    return number, why


def words(matchers: Sequence[Matcher], titles: Mapping[str, str]) -> str:
    """Matchers as they are written, and which rules are meant: see `titles_of`."""
    written = [f"{each} ({titles[each.value]})" if each.value in titles else str(each) for each in matchers]
    return ", ".join(written) or "everything"


def titles_of(settings: Settings, matchers: Iterable[Matcher]) -> dict[str, str]:
    """What the rules are called whose ids stand in matchers, by the values of these."""
    named = {each.value: ids for each in matchers if each.field == "rule" and (ids := RULE_ID.findall(each.value))}
    if not named:
        return {}
    from detector.cli.rule_names import load

    called = {entry.rule_id: entry.title for entry in load(settings).entries}
    found = {value: "; ".join(called[each] for each in ids if each in called) for value, ids in named.items()}
    return {value: title for value, title in found.items() if title}


def silence_object(silence: Silence) -> dict[str, Any]:
    """A silence as JSON has it."""
    from dataclasses import fields

    values = {field.name: getattr(silence, field.name) for field in fields(silence)}
    return values | {"matchers": [str(each) for each in silence.matchers]}


def _end(begin: datetime, span: timedelta | None, until: datetime | None, now: datetime) -> datetime:
    if (span is None) == (until is None):
        raise click.UsageError("say when it ends: either --for 2h, or --until '2026-12-31 18:00'")
    end = begin + span if span is not None else until
    assert end is not None  # noqa: S101  one of the two is there
    if end <= max(begin, now):
        raise click.BadParameter(f"{local(end)} is over; write a time to come", param_hint="'--until'")
    if end - now > _LONGEST:
        hint = "what is never to be told again is a matter for: detector rules tune"
        option = "'--until'" if span is None else "'--for'"
        raise click.BadParameter(f"a silence ends within {_LONGEST.days} days; {hint}", param_hint=option)
    return end


def _much(seen: Preview, *, broad: bool) -> str:
    if broad:
        return "is about no rule, person, program or destination: it mutes all alerts of a host, or of all"
    if seen.is_most:
        return f"would have muted {len(seen.muted)} of {seen.alerts} alerts, more than half"
    return ""


def _print(mutes: str, begin: datetime, ends_at: datetime, seen: Preview, days: int) -> None:
    say(f"mutes alerts with: {mutes}")
    say(f"from {local(begin)} to {local(ends_at)}")
    if not seen.alerts:
        note(f"there were no alerts in the last {numbered(days, 'day')}")
        return
    if not seen.muted:
        note(f"none of the {numbered(seen.alerts, 'alert')} of the last {numbered(days, 'day')} would have been muted")
        return
    of_all = f"{len(seen.muted)} of {numbered(seen.alerts, 'alert')} ({numbered(seen.messages, 'message')})"
    say(f"in the last {numbered(days, 'day')} it would have muted {of_all}:")
    for (host, title), number in Counter((each.host, each.rule_title) for each in seen.muted).most_common(_SHOWN):
        say(f"  {number:>5}  {host}: {title}")
    for each in seen.muted[:_SHOWN]:
        say(f"  alert {each.alert_id}, {local(each.end)}: {each.summary}")
    if len(seen.muted) > _SHOWN:
        say(f"  and {len(seen.muted) - _SHOWN} more")


def _object(
    number: int | None, matchers: Sequence[Matcher], begin: datetime, ends_at: datetime, seen: Preview
) -> dict[str, Any]:
    return {
        "silence_id": number,
        "matchers": [str(each) for each in matchers],
        "starts_at": begin,
        "ends_at": ends_at,
        "alerts": seen.alerts,
        "messages": seen.messages,
        "would_have_muted": [each.alert_id for each in seen.muted],
    }
