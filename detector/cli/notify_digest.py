"""`detector notify digest`: what a time brought, now."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector.cli.parameters import Moment, check_period
from detector.cli.terminal import note, print_json, say
from detector.errors import ConfigError, DetectorError

if TYPE_CHECKING:
    from detector.config import Settings
    from detector.digest import Digest

_DAY = timedelta(days=1)
_LONGEST = timedelta(days=366)


@click.command()
@click.option("--since", type=Moment(), help="When it begins: 7d, yesterday, 'monday 7:00' … Default: a day before.")
@click.option("--until", type=Moment(), help="When it ends. Default: now.")
@click.option("--send", is_flag=True, help="Send it to the channels in [digest], or to those named by --channel.")
@click.option("--channel", "channels", multiple=True, metavar="NAME", help="With --send: to this channel. Repeatable.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to a file: as a page if the name ends with .html, as JSON with .json, else as text.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all figures, times in UTC.")
@click.pass_obj
def digest(
    settings: Settings,
    /,
    since: datetime | None,
    until: datetime | None,
    channels: tuple[str, ...],
    out: Path | None,
    *,
    send: bool,
    as_json: bool,
) -> None:
    """Show what a time brought: alerts, false alerts beside those promised, what became normal, rules to tune, silent
    hosts, and how complete capture was.

    The same is sent each day and each week to the channels that [digest] in the configuration names. What is shown now
    is counted anew: what people have said of alerts since is in it.

    \b
    Examples:
      detector notify digest
      detector notify digest --since 7d
      detector notify digest --since 'monday 7:00' --out week.html
      detector notify digest --since 7d --send --channel mail
      detector notify digest --json | jq '.rules.noisiest[] | {rule, alerts, command}'
    """
    if channels and not send:
        raise click.UsageError("--channel says where it is sent: add --send")
    now = datetime.now(UTC)
    until = min(until or now, now)
    since = since or until - _DAY
    check_period(since, until)
    if until - since > _LONGEST:
        raise click.BadParameter("a digest is of a year at most", param_hint="'--since'")
    to = _channels(settings, channels) if send else ()
    made = _made(settings, since, until, now)
    if out is not None:
        _write(made, out)
    if send:
        _send(settings, made, to, now)
    if as_json:
        from detector.digest import to_stored

        print_json(to_stored(made))
    elif not (out or send):
        _print(made)


def _channels(settings: Settings, named: tuple[str, ...]) -> tuple[str, ...]:
    to = tuple(dict.fromkeys(named or settings.digest.channels))
    if not to:
        raise ConfigError("no channel is named for digests", hint="add --channel NAME, or name some in [digest]")
    known = [channel.name for channel in settings.channels] + (["console"] if settings.notify.console else [])
    for name in to:
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "none is configured"
            raise click.BadParameter(f"there is no channel {name!r}; {there}", param_hint="'--channel'")
    return to


def _made(settings: Settings, since: datetime, until: datetime, now: datetime) -> Digest:
    from detector.cli.rule_names import load
    from detector.digest import Kind
    from detector.service.digest_contents import Wanted, gather
    from detector.store.engine import open_store
    from detector.store.migrating import check_current

    engine = open_store(settings.database_url)
    try:
        check_current(engine)
        return gather(engine, settings, load(settings), Wanted(kind=Kind.ASKED, start=since, end=until), now)
    finally:
        engine.dispose()


def _write(made: Digest, path: Path) -> None:
    from detector.digest import to_stored
    from detector.notify.digest_message import page
    from detector.notify.digest_text import full_text
    from detector.service.digesting import severity_of

    if path.suffix in {".html", ".htm"}:
        text = page(made, severity_of(made))
    elif path.suffix == ".json":
        text = json.dumps(to_stored(made), indent=2) + "\n"
    else:
        text = full_text(made) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise DetectorError(f"{path}: {fault.strerror}", hint="name another file with --out") from None
    note(f"written: {path}")


def _send(settings: Settings, made: Digest, to: tuple[str, ...], now: datetime) -> None:
    from detector.service.digesting import send
    from detector.store.engine import open_store

    engine = open_store(settings.database_url)
    try:
        # Whoever asks twice is sent it twice.
        send(engine, made, to, f"{made.start.isoformat()} to {made.end.isoformat()}, {now.isoformat()}", now)
    finally:
        engine.dispose()
    note(f"put into the outbox for {', '.join(to)}: the running detect sends it; see detector notify status")


def _print(made: Digest) -> None:
    from detector.notify import digest_wording as words
    from detector.notify.digest_text import full_text

    say(words.title(made))
    for line in full_text(made).splitlines():
        say(line)
