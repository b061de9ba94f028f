"""`detector model review`: shows what would become normal, and takes a person's word that it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from detector.cli.parameters import LIMIT, HostName
from detector.cli.rule_changes import said_author
from detector.cli.tables import Column, print_table
from detector.cli.terminal import local, note, print_json, say
from detector.domain import ReviewAnswer
from detector.errors import DetectorError
from detector.row_words import connection_text, program_text, who_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector.config import Settings
    from detector.models.review import Ranked

_KEY = click.IntRange(1, 2**63 - 1)
_CHOICES = {"a": ReviewAnswer.ACCEPTED, "n": ReviewAnswer.NOT_NORMAL}


@click.command()
@click.option("--host", type=HostName(), help="Of which host; not needed where there is one alone.")
@click.option("--list", "listing", is_flag=True, help="Only show what there is to review, and ask nothing.")
@click.option("--all", "everything", is_flag=True, help="With --list: also what was answered, and how.")
@click.option("--accept", type=_KEY, multiple=True, metavar="KEY", help="This is normal. May be repeated.")
@click.option("--not-normal", type=_KEY, multiple=True, metavar="KEY", help="This is not. May be repeated.")
@click.option("--reopen", type=_KEY, multiple=True, metavar="KEY", help="Takes an answer back. May be repeated.")
@click.option("--author", help="Who says so; the user who calls, unless it is given.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="The strangest shown.")
@click.option("--json", "as_json", is_flag=True, help="With --list: a JSON list of objects, times in UTC.")
@click.pass_obj
def review(
    settings: Settings,
    /,
    host: str | None,
    limit: int,
    author: str | None,
    accept: Sequence[int],
    not_normal: Sequence[int],
    reopen: Sequence[int],
    *,
    listing: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Go through what a host did during its burn-in, the rarest first, before it becomes normal.

    Whoever was there from the start is learnt like everything else. What you call not normal is told as an alert
    whenever it is met, and is not learnt. Answers are kept one by one: stop with q, and go on another time.

    \b
    Examples:
      detector model review --host bastion-1
      detector model review --host bastion-1 --list --json
      detector model review --host bastion-1 --not-normal 17 --accept 18
      detector model review --host bastion-1 --reopen 17
    """
    host_id, name, found, answered = _found(settings, host)
    chosen = {
        **dict.fromkeys(accept, ReviewAnswer.ACCEPTED),
        **dict.fromkeys(not_normal, ReviewAnswer.NOT_NORMAL),
        **dict.fromkeys(reopen, None),
    }
    if len(chosen) < len(accept) + len(not_normal) + len(reopen):
        raise click.UsageError("a key is named twice; say one thing of it")
    shown = [each for each in found if everything or each.row["key_id"] not in answered]
    if listing:
        _list(shown[:limit], len(found), answered, as_json=as_json)
    elif chosen:
        for key_id, said in chosen.items():
            _answer(settings, host_id, key_id, said, said_author(author))
            say(f"key {key_id} of {name}: {said.value if said else 'open again'}")
    else:
        _walk(settings, host_id, shown[:limit], len(found), said_author(author))


def _found(settings: Settings, host: str | None) -> tuple[int, str, list[Ranked], Mapping[int, Any]]:
    from detector.cli.store import stored
    from detector.models import status
    from detector.models.review import rank
    from detector.store.filters import HistoryFilter
    from detector.store.newcomers import newcomers
    from detector.store.reviews import answers

    with stored(settings) as connection:
        known = status.read(connection, settings.models, host)
        if not known:
            raise DetectorError(
                f"nothing was learnt of {host} yet" if host else "nothing was learnt of any host yet",
                hint="see: detector model status",
            )
        if len(known) > 1:
            names = ", ".join(each.host for each in known[:5])
            raise DetectorError(f"there are {len(known)} hosts ({names}, …)", hint="say which: --host NAME")
        (one,) = known
        wanted = HistoryFilter(host=one.host, until=one.scored_since)
        rows = newcomers(connection, wanted, None).rows
        return one.host_id, one.host, rank(rows), answers(connection, one.host_id)


def _answer(settings: Settings, host_id: int, key_id: int, said: ReviewAnswer | None, author: str) -> None:
    from detector.cli.store import changed
    from detector.store.reviews import answer

    with changed(settings) as connection:
        if not answer(connection, host_id, key_id, said, author=author, now=datetime.now(UTC)):
            raise DetectorError(f"there is no key {key_id} of this host", hint="see: detector model review --list")


def _list(shown: Sequence[Ranked], total: int, answered: Mapping[int, Any], *, as_json: bool) -> None:
    if as_json:
        print_json([_as_object(each, total, answered.get(each.row["key_id"])) for each in shown])
        return
    if not shown:
        note("there is nothing to review")
        return
    columns = (
        *(Column("key", "right"), Column("rarity", "right"), Column("who", fold=True), Column("program", fold=True)),
        *(Column("connection", fold=True), Column("connects", "right"), Column("why", fold=True)),
    )
    print_table(columns, (_cells(each, total) for each in shown))


def _cells(each: Ranked, total: int) -> tuple[str, ...]:
    row = each.row
    what = (who_text(row), program_text(row), connection_text(row))
    return (str(row["key_id"]), f"{each.rarity:.1f}", *what, f"{row['attempted'] + _in(row):,}", _why(each, total))


def _in(row: Mapping[str, Any]) -> int:
    """Inbound connections are not attempted here."""
    return 0 if row["attempted"] else int(row["established"])


def _why(each: Ranked, total: int) -> str:
    rarest = list(each.why.items())[:2]
    return ", ".join(f"{name} of {number:,} in {total:,}" for name, number in rarest)


def _as_object(each: Ranked, total: int, said: tuple[ReviewAnswer, str, datetime] | None) -> dict[str, Any]:
    row = each.row
    names = ("key_id", "host", "direction", "protocol", "executable", "script", "parent_executable", "command", "user")
    more = ("login_user", "unit", "container", "remote_address", "remote_port", "local_port", "attempted")
    outcomes = ("established", "refused", "timed_out", "failed", "first_seen", "last_seen")
    return {
        **{name: row[name] for name in (*names, *more, *outcomes)},
        "rarity": each.rarity,
        "same": dict(each.why),
        "keys": total,
        "answer": None if said is None else said[0].value,
        "author": None if said is None else said[1],
        "answered_at": None if said is None else said[2],
    }


def _walk(settings: Settings, host_id: int, shown: Sequence[Ranked], total: int, author: str) -> None:
    if not shown:
        note("there is nothing to review")
        return
    for number, each in enumerate(shown, start=1):
        row = each.row
        say(f"{number} of {len(shown)}: {who_text(row)}, {program_text(row)}, {connection_text(row)}")
        times = f"{local(row['first_seen'])} to {local(row['last_seen'])}"
        say(f"  {row['attempted'] + _in(row):,} times, {times}; {_why(each, total)}")
        key = click.prompt("  [a]ccept, [n]ot normal, [s]kip, [q]uit", type=click.Choice([*"ansq"]), show_choices=False)
        if key == "q":
            return
        if (said := _CHOICES.get(key)) is not None:
            _answer(settings, host_id, row["key_id"], said, author)
